"""Depth and normals beside detection and segmentation: exact on both models, and from the file to the evaluation."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage
from rank_cases import in_double
from small import sample, small_cfg, small_model, small_rcnn_cfg
from torch.nn import functional as F

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.rows import combine
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, MultiTaskMapper, check_data, register_all
from mtl_d2.data.dense_maps import DepthMaps
from mtl_d2.data.reading import digests
from mtl_d2.data.sample_scenes.generate import Request, generate
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.constant import fit_constant_predictor
from mtl_d2.evaluation.dense import AVERAGES
from mtl_d2.evaluation.rehearsal import rehearse
from mtl_d2.report.pictures import write_pictures
from mtl_d2.tasks.dense import DEFINITIONS
from mtl_d2.tasks.registry import kind_of, kinds_of
from mtl_d2.tasks.task import head_parameters

FCOS = ("detection", "semantic", "depth", "normals")
RCNN = ("detection", "instance", "semantic", "depth", "normals")
CONFIGS = {"fcos": (small_cfg, FCOS), "rcnn": (small_rcnn_cfg, RCNN)}
each_model = pytest.mark.parametrize("model", CONFIGS)


def config(model):
    make, tasks = CONFIGS[model]
    cfg = make(*tasks)
    cfg.MODEL.DEPTH_HEAD.LOSS, cfg.MODEL.DEPTH_HEAD.ACTIVATION = (
        ("l1", "linear") if model == "fcos" else ("si_log", "exp")
    )
    cfg.MODEL.DEPTH_HEAD.CONVS_DIM = cfg.MODEL.NORMALS_HEAD.CONVS_DIM = 16
    return cfg


def samples(*labelled):
    """One for each set of tasks, of different sizes."""
    made = [sample(*tasks, size=(64, 96) if i % 2 else (48, 80), seed=i) for i, tasks in enumerate(labelled)]
    return [dict(one, tasks=tasks, position=i) for i, (one, tasks) in enumerate(zip(made, labelled, strict=True))]


PARTIAL = [("detection", "depth"), ("normals", "semantic"), ("depth", "normals"), ("detection",)]


def double_entropy():
    """Binary cross entropy in its input's precision; torch takes that of the target, single in detectron2's losses."""
    entropy = F.binary_cross_entropy_with_logits
    return mock.patch.object(F, "binary_cross_entropy_with_logits", lambda x, y, **kind: entropy(x, y.to(x), **kind))


@each_model
@pytest.mark.parametrize("labels", ["all", "some"])
def test_task_gradients_add_up_to_those_of_one_backward_pass(model, labels):
    cfg = config(model)
    net = small_model(cfg=cfg).double()
    of_all = CONFIGS[model][1]
    sets = [of_all, of_all] if labels == "all" else PARTIAL
    batch = samples(*sets)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    precise = in_double() if model == "fcos" else double_entropy()
    with precise, EventStorage(), torch.jit.optimized_execution(False):
        torch.manual_seed(0)
        sum(net(batch).values()).backward()
        expected = {name: p.grad for name, p in net.named_parameters()}
        net.load_state_dict(state)
        torch.manual_seed(0)
        oracle = Oracle(net)
        oracle.load(batch)
        found = oracle.gradients()
    rows = dict(zip(map(id, oracle.shared), combine(found.rows, [1.0] * len(net.tasks)), strict=True))
    heads = {
        id(p): g
        for task, own in zip(net.tasks, found.heads, strict=True)
        for p, g in zip(head_parameters(net, task), own, strict=True)
    }
    for name, parameter in net.named_parameters():
        ours, wanted = (rows | heads)[id(parameter)], expected[name]
        if wanted is not None and wanted.norm() > 0:
            assert (ours - wanted).norm() <= 1e-9 * wanted.norm() + 1e-14, name


def gradients(cfg, batch, accumulate):
    """Of the heads of depth and of normals, in double precision."""
    net = small_model(cfg=cfg).double()
    oracle = Oracle(net, accumulate=accumulate)
    oracle.load(batch)
    with EventStorage():
        found = oracle.gradients()
    rows = combine(found.rows, [1.0] * len(net.tasks))
    return [*rows, *(gradient for own in found.heads for gradient in own)]


@pytest.mark.parametrize("loss", ["l1", "mse", "si_log"])
def test_micro_batches_have_the_gradients_of_one_batch(loss):
    """Means over images whatever is labelled, means over pixels where micro-batches have as many labelled pixels."""
    cfg = small_cfg("depth", "normals")
    cfg.MODEL.DEPTH_HEAD.LOSS, cfg.MODEL.DEPTH_HEAD.ACTIVATION = loss, "softplus"
    batch = samples(*[("depth", "normals")] * 4)
    labelled = batch[0]["depth"] > 0, batch[1]["depth"] > 0  # images alternate between two sizes
    for i, one in enumerate(batch):
        if loss == "si_log" and i == 2:
            one["depth"][:20] = 0
        elif loss != "si_log":
            one["depth"] = (one["depth"] + 1) * labelled[i % 2]
        one["normals"] = torch.where(labelled[i % 2], torch.tensor([0.0, 0.6, -0.8])[:, None, None], 0)
    for one, other in zip(gradients(cfg, batch, 1), gradients(cfg, batch, 2), strict=True):
        assert (one - other).norm() <= 1e-10 * one.norm() + 1e-14


@each_model
def test_a_few_updates_lower_the_losses_of_both(model):
    net, batch = small_model(cfg=config(model)), samples(CONFIGS[model][1], CONFIGS[model][1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    history = []
    with EventStorage():
        for _ in range(12):
            losses = net(batch)
            optimizer.zero_grad()
            (losses["loss_depth"] + losses["loss_normals"]).backward()
            optimizer.step()
            history.append((losses["loss_depth"].item(), losses["loss_normals"].item()))
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < history[0][1]


@each_model
def test_predictions_have_the_size_of_the_stored_image(model):
    net = small_model(cfg=config(model)).eval()
    inputs = [dict(sample(size=(64, 96)), height=50, width=120), sample(size=(48, 80))]
    with torch.no_grad():
        outputs = net(inputs)
    for given, output in zip(inputs, outputs, strict=True):
        size = (given["height"], given["width"])
        assert output["depth"].shape == size
        assert output["normals"].shape == (3, *size)
        torch.testing.assert_close(output["normals"].norm(dim=0), torch.ones(size))
        assert {"instances", "sem_seg"} <= output.keys()


def test_scaled_depth_is_scaled_back_in_predictions():
    cfg = config("fcos")
    net = small_model(cfg=cfg).eval()
    cfg.MODEL.DEPTH_HEAD.SCALING = "divide"
    scaled = small_model(cfg=cfg).eval()
    inputs = [dict(sample(size=(64, 96)), height=32, width=48)]  # the network sees it twice as large
    with torch.no_grad():
        torch.testing.assert_close(scaled(inputs)[0]["depth"], 2 * net(inputs)[0]["depth"])


def test_two_tasks_of_a_kind_have_heads_options_and_losses_of_their_own():
    cfg = small_cfg("depth", "depth/disparity")
    cfg.MTL.TASK_OPTIONS["depth/disparity"] = type(cfg)({"LOSS": "mse", "SCALING": "multiply"})
    net = small_model(cfg=cfg)
    one = sample("depth")
    one |= {"depth/disparity": 10 / one["depth"].clamp(min=1), "tasks": ("depth", "depth/disparity")}
    with EventStorage():
        losses = net([one])
    assert set(losses) == {"loss_depth", "loss_depth/disparity"}
    assert [task.head_modules for task in net.tasks] == [("depth_head",), ("depth_head_disparity",)]
    assert kind_of("depth/disparity").group == "depth_disparity"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("MODEL.DEPTH_HEAD.LOSS", "l3", "MODEL.DEPTH_HEAD.LOSS must be one of 'l1', 'mse', 'si_log', got 'l3'"),
        ("MODEL.DEPTH_HEAD.LOSS", "si_log", "set that to 'exp' or 'softplus'"),
        ("MODEL.DEPTH_HEAD.SCALING", "twice", "must be one of 'none', 'divide', 'multiply'"),
        ("MODEL.DEPTH_HEAD.SI_LAMBDA", 1.5, "must be a finite number >= 0 and <= 1"),
        ("MODEL.NORMALS_HEAD.LOSS", "dot", "must be one of 'cosine', 'l1', 'mse'"),
        ("MODEL.NORMALS_HEAD.LOSS_WEIGHT", -1.0, "must be a finite number >= 0"),
    ],
)
def test_options_that_a_head_cannot_have(key, value, said):
    cfg = small_cfg(*FCOS)
    cfg.DATASETS.TRAIN = ("any",)
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        check_mtl_config(cfg)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "made"
    generate(path, Request(train=3, val=2, size=(96, 64), layouts=("cityscapes", "nyu")))
    return path


@pytest.fixture
def cfg(scenes, tmp_path):
    """Five tasks on the sample scenes, and disparity."""
    register_all(str(scenes))
    cfg = small_rcnn_cfg(*RCNN, "depth/disparity")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("sample_scenes_all_train",), ("sample_scenes_all_val",)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS, cfg.DATALOADER.NUM_WORKERS = False, 0
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 8, 19
    cfg.MODEL.DEPTH_HEAD.CONVS_DIM = cfg.MODEL.NORMALS_HEAD.CONVS_DIM = 16
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 64, 96
    cfg.SEED, cfg.OUTPUT_DIR = 3, str(tmp_path)
    return cfg


def records(cfg):
    """As training has them."""
    name = cfg.DATASETS.TRAIN[0]
    defaults = {k: v for kind in kinds_of(cfg.MTL.TASKS) for k, v in kind.record_defaults(cfg, name).items()}
    return [{**defaults, **record} for record in DatasetCatalog.get(name)]


def test_a_flipped_image_has_flipped_depth_and_mirrored_normals(cfg):
    cfg.INPUT.RANDOM_FLIP = "none"
    record = records(cfg)[0]
    plain = MultiTaskMapper(cfg)(record)
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    mapper = MultiTaskMapper(cfg)
    flipped = next(s for s in (mapper(record, k) for k in range(40)) if not torch.equal(s["image"], plain["image"]))
    assert torch.equal(flipped["depth"], plain["depth"].flip(-1))
    assert torch.equal(flipped["depth/disparity"], plain["depth/disparity"].flip(-1))
    torch.testing.assert_close(
        flipped["normals"], plain["normals"].flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None]
    )
    seen = plain["depth"] > 0
    focal = (plain["depth"] * plain["depth/disparity"])[seen & (plain["depth"] < 20)]
    assert focal.std() < 0.02 * focal.mean()  # baseline times focal length, everywhere
    assert "depth_file_name" not in plain
    assert plain["tasks"] == tuple(cfg.MTL.TASKS)


def test_the_data_are_sound_and_the_evaluation_gives_the_truth_its_due(cfg):
    check_data(cfg)
    rehearse(cfg)


def test_an_evaluation_that_finds_errors_in_the_truth_is_refused(cfg, monkeypatch):
    monkeypatch.setattr(DepthMaps, "tensor", lambda self, values: torch.as_tensor(2 * values))
    with pytest.raises(
        DataError, match=r"the error of depth gives the ground truth itself depth/delta_1\.25 0\.00.*instead"
    ) as error:
        rehearse(cfg)
    assert "depth/rel_err 1.00" in str(error.value)
    assert "instead of 0" in str(error.value)


def evaluated(cfg, predictor):
    """The results of a model on the test set."""
    evaluator, mapper = build_evaluator(cfg, "sample_scenes_all_val"), MultiTaskMapper(cfg, False)
    evaluator.reset()
    with torch.no_grad():
        for record in DatasetCatalog.get("sample_scenes_all_val"):
            inputs = [mapper(record)]
            evaluator.process(inputs, predictor(inputs))
    return evaluator.evaluate()


def test_an_untrained_model_is_evaluated_and_drawn(cfg):
    net = small_model(cfg=cfg).eval()
    results = evaluated(cfg, net)
    for group in ("depth", "depth_disparity", "normals"):
        assert all(np.isfinite(value) for value in results[group].values())
    index = json.loads(write_pictures(net, cfg, cfg.OUTPUT_DIR, count=1).read_text())
    assert index["failed"] == []
    (shown,) = index["pictures"]
    assert {"semantic", "depth", "depth/disparity", "normals"} <= set(shown["labels"])
    assert shown["left_out"] == {}


def test_the_mean_of_the_training_set_beats_an_untrained_model(cfg):
    constant, untrained = (evaluated(cfg, one) for one in (fit_constant_predictor(cfg), small_model(cfg=cfg).eval()))
    for group, metric in (("depth", "abs_err"), ("depth_disparity", "abs_err"), ("normals", "mean_angle")):
        assert constant[group][metric] < 0.7 * untrained[group][metric]


def test_a_record_without_depth_is_not_labelled_for_it(cfg):
    record = {k: v for k, v in records(cfg)[0].items() if not k.startswith("depth_file_name")}
    assert "depth" not in MultiTaskMapper(cfg)(record)["tasks"]


def test_depth_that_is_said_to_be_something_else_is_refused(cfg, own_metadata):
    own_metadata(**{"depth_encoding/disparity": "metres"})
    with pytest.raises(DataError, match="holds uint16, which depth as 'metres' is never stored in"):
        check_data(cfg)


@pytest.fixture
def own_metadata():
    def change(**values):
        for name in ("sample_scenes_all_train", "sample_scenes_all_val"):
            for key, value in values.items():
                MetadataCatalog.get(name).__dict__[key] = value

    return change


def test_each_average_has_a_definition_of_its_own(cfg, own_metadata):
    assert set(DEFINITIONS) == set(AVERAGES)
    assert kind_of("depth").definition("sample_scenes_all_val") == DEFINITIONS["pixels"]
    own_metadata(depth_average="images")
    assert kind_of("depth").definition("sample_scenes_all_val") == DEFINITIONS["images"]


@pytest.mark.parametrize(
    ("key", "value"), [("depth_average", "batches"), ("depth_range", (5, 1)), ("depth_range", ("0", "9"))]
)
def test_metadata_that_evaluation_cannot_follow(cfg, own_metadata, key, value):
    own_metadata(**{key: value})
    with pytest.raises(DataError, match=key):
        rehearse(cfg)


def test_a_checkpoint_knows_the_files_of_the_labels_that_its_tasks_read(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 2
    trainer = MultiTaskTrainer(cfg)
    trainer._hooks.clear()  # whose files are not open yet
    kept = trainer.state_dict()["records"]
    assert kept == digests(cfg.DATASETS.TRAIN, ("depth_file_name", "normals_file_name", "depth_file_name/disparity"))
    assert kept != digests(cfg.DATASETS.TRAIN)
