"""Several tasks of one kind: each has labels, a head, metrics and pictures of its own."""

import json

import numpy as np
import pytest
import torch
import train_net
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from own_sets import H, W
from PIL import Image

from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.engine.resume import changes
from mtl_d2.report.pictures import write_pictures
from mtl_d2.tasks.task import head_parameters, shared_parameters

TASKS = ("detection", "semantic", "semantic/lane")
LANE = {"stuff_classes/lane": ["background", "lane"], "stuff_colors/lane": [(0, 0, 0), (0, 255, 0)]}


@pytest.fixture
def cfg(sets):
    """Three images with boxes, a map of three classes, and one of lanes whose values 0 and 200 a table translates."""
    records = sets.records(3, maps=True)
    for i, record in enumerate(records):
        lanes = np.zeros((H, W), np.uint8)
        lanes[:, 10 + i : 14 + i] = 200
        lanes[:4] = 9
        record["sem_seg_file_name/lane"] = str(sets.root / f"{i}_lane.png")
        record["sem_seg_table/lane"] = bytes({0: 0, 200: 1, 9: 77}.get(value, 3) for value in range(256))
        Image.fromarray(lanes).save(record["sem_seg_file_name/lane"])
    sets.register("several", records, **LANE, **{"ignore_label/lane": 77})
    cfg = sets.config("several", tasks=TASKS)
    cfg.MTL.TASK_OPTIONS["semantic/lane"] = type(cfg)({"NUM_CLASSES": 2, "IN_FEATURES": ["p2", "p3"]})
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 2
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (H,), "none"
    return cfg


def test_each_has_its_labels_by_its_own_classes_and_ignored_id(cfg):
    check_mtl_config(cfg)
    check_data(cfg)
    sample = next(iter(build_train_loader(cfg)))[0]
    assert sample["tasks"] == TASKS
    assert sample["sem_seg/lane"].shape == sample["sem_seg"].shape
    assert sample["sem_seg/lane"].unique().tolist() == [0, 1, 255]
    assert sample["sem_seg"].unique().tolist() == [0, 1, 2, 255]
    assert not [key for key in sample if "table" in key or "file_name/" in key or "ignore_label" in key]


def test_each_has_a_head_losses_and_predictions_of_its_own(cfg):
    model = build_model(cfg)
    assert model.sem_seg_head.predictor.out_channels == 3
    assert model.sem_seg_head_lane.predictor.out_channels == 2
    assert model.task_levels()["semantic/lane"] == ["p2", "p3"]
    batch = next(iter(build_train_loader(cfg)))
    with EventStorage():
        losses = model(batch)
    assert {"loss_sem_seg_ce", "loss_sem_seg_dice", "loss_sem_seg_ce/lane", "loss_sem_seg_dice/lane"} < losses.keys()
    lane = next(task for task in model.tasks if task.name == "semantic/lane")
    own = {id(p) for p in head_parameters(model, lane)}
    assert own == {id(p) for p in model.sem_seg_head_lane.parameters()}
    assert not own & {id(p) for p in shared_parameters(model, model.tasks)}
    (output,) = model.eval()([{**batch[0], "height": H, "width": W}])
    assert output["sem_seg/lane"].shape == (2, H, W)
    assert output["sem_seg"].shape == (3, H, W)


def test_their_gradients_are_those_of_autograd(cfg):
    torch.manual_seed(0)
    model = build_model(cfg).double()
    batch = next(iter(build_train_loader(cfg)))
    with EventStorage():
        oracle = Oracle(model)
        oracle.load(batch)
        exact = oracle.gradients()
        model.loss_normalizer.fill_(300.0)
        losses = model(batch)
    for i, task in enumerate(model.tasks[1:], 1):  # detection moves a normalizer
        loss = sum(losses[key] for key in task.loss_keys)
        expected = torch.autograd.grad(loss, oracle.shared, retain_graph=True, allow_unused=True)
        for row, one in zip(exact.rows[i], expected, strict=True):
            if one is not None:
                torch.testing.assert_close(row, one, rtol=1e-9, atol=1e-12)


def test_a_run_gives_each_its_group_of_metrics_and_its_panel(cfg, sets):
    cfg.SOLVER.MAX_ITER, cfg.MODEL.WEIGHTS, cfg.MODEL.PIXEL_STD = 2, "", [57.375, 57.12, 58.395]
    cfg.DATASETS.TEST = ("several",)
    file = sets.root / "config.yaml"
    file.write_text(cfg.dump())
    options = ["MTL.TASK_OPTIONS.semantic/lane.CONVS_DIM", "8"]
    options += ["MTL.SELECT_BY", "sem_seg_lane/mIoU", "MTL.SELECT_ON", "test"]
    results = train_net.main(train_net.parse(["--config-file", str(file), *options, "TEST.EVAL_PERIOD", "1"]))
    groups = {"bbox", "sem_seg", "sem_seg_lane"}
    assert groups <= set(results)
    assert {"IoU-background", "IoU-lane"} <= set(results["sem_seg_lane"])
    folder = sets.root / "output"
    assert (folder / "inference/several/semantic_lane_confusion.csv").is_file()
    index = json.loads((folder / "pictures/index.json").read_text())
    assert index["failed"] == []
    assert index["pictures"][0]["labels"] == list(TASKS)
    assert index["colors"]["lane"] == "#00ff00"
    with Image.open(folder / "pictures" / index["pictures"][0]["truth"]) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] > 4 * H  # both doubled, and a caption
    x, y = 2 * 12, pixels.shape[0] - H  # a lane of the first image, in the panel below
    assert pixels[y, x, 1] > pixels[y, x, 0] + 60
    written = get_cfg()
    add_mtl_config(written)
    merge_config(written, str(folder / "config.yaml"), [])  # what a run leaves can be given again
    assert written.MTL.TASK_OPTIONS["semantic/lane"].CONVS_DIM == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MTL.TASK_OPTIONS.semantic/lane.NUM_CLASES", "2"], "no such config key: .*NUM_CLASES"),
        (["MTL.TASK_OPTIONS.semantic/lane.NUM_CLASES", "2"], "'semantic/lane' has .*NUM_CLASSES"),
        (["MTL.TASK_OPTIONS.semantics.NUM_CLASSES", "2"], "no such config key: .* \\(there is no task 'semantics'"),
        (["MTL.TASK_OPTIONS.detection.NUM_CLASSES", "2"], "'detection' has no options of its own"),
        (["MTL.TASK_OPTIONS.lane", "2"], "it must be MTL.TASK_OPTIONS.<task>.<option>"),
        (["MTL.TASK_OPTIONS", "{'semantic/lane': {}}"], "MTL.TASK_OPTIONS is no option, but holds several"),
        (["MODEL.FCOS", "2"], "MODEL.FCOS is no option, but holds several"),
        (["MTL.TASK_OPTIONS.semantic/lane.NUM_CLASSES", "two"], "must be of type int"),
    ],
)
def test_options_that_no_task_has_are_refused(overrides, message):
    cfg = get_cfg()
    add_mtl_config(cfg)
    with pytest.raises(ConfigError, match=message):
        merge_config(cfg, "", overrides)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (("semantic", "semantic"), "MTL.TASKS names 'semantic' twice"),
        (("detection", "detection/faces"), "a model has one task 'detection'"),
        (("semantic/my lane",), "the name after 'semantic/' must be of letters, digits and '_'.*got 'my lane'"),
        (("semantic/2",), "not a digit first, got '2'"),
        (
            ("semantic/lanes",),
            "options of 'semantic/lane', which is none of .*did you mean 'semantic/lanes'",
        ),
    ],
)
def test_names_that_are_no_tasks_are_refused(cfg, tasks, message):
    cfg.MTL.TASKS = tasks
    with pytest.raises(ConfigError, match=message):
        check_mtl_config(cfg)


def test_options_of_tasks_that_are_not_trained_wait_for_a_run_that_trains_them(cfg):
    cfg.MTL.TASKS = ("detection",)  # a baseline by an override, which can take no options out
    check_mtl_config(cfg)


def test_mistake_in_an_option_that_two_tasks_share_is_told_once(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PanopticHead"
    with pytest.raises(ConfigError) as raised:
        check_mtl_config(cfg)
    assert str(raised.value).count("PanopticHead") == 1


def test_run_goes_on_with_the_options_it_had_and_tells_those_that_changed(cfg):
    stored = cfg.dump()
    assert changes(stored, cfg) == {}
    key = "MTL.TASK_OPTIONS.semantic/lane.NUM_CLASSES"
    cfg.MTL.TASK_OPTIONS["semantic/lane"].NUM_CLASSES = 5
    assert changes(stored, cfg) == {key: f"{key}: 2 in the checkpoint, now 5"}
    cfg.MTL.TASK_OPTIONS.clear()
    assert list(changes(stored, cfg)) == ["MTL.TASK_OPTIONS.semantic/lane.IN_FEATURES", key]


def test_what_is_wrong_with_a_named_task_names_its_own_keys(cfg):
    cfg.MTL.TASK_OPTIONS["semantic/lane"].NUM_CLASSES = 3
    with pytest.raises(DataError) as raised:
        check_data(cfg)
    line = "it has 2 `stuff_classes/lane`, but MTL.TASK_OPTIONS.semantic/lane.NUM_CLASSES is 3: set it to 2"
    assert line in str(raised.value)
    cfg.MTL.TASK_OPTIONS["semantic/lane"].NUM_CLASSES = 2
    MetadataCatalog.get("several").__dict__.pop("stuff_classes/lane")
    with pytest.raises(DataError, match="its metadata have no `stuff_classes/lane`"):
        check_data(cfg)


def test_a_prediction_that_cannot_be_drawn_costs_its_image_alone(cfg, tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, batch):
            return [{"sem_seg": torch.zeros(3, H, W), "sem_seg/lane": torch.zeros(2, 3, 3)} for _ in batch]

    index = json.loads(write_pictures(Odd(), cfg, tmp_path, count=1).read_text())
    assert "another size" in index["pictures"][0]["left_out"]["prediction"][0]
