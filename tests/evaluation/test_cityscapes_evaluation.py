"""Cityscapes' own scripts, run on predictions that are made of the truth."""

import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances, polygons_to_bitmask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from tiny_cityscapes import HEIGHT, ROAD, SKY, STATIC, WIDTH, instance_ids, label_ids, write_tiny_cityscapes

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, build_test_loader, register_all
from mtl_d2.data.datasets.cityscapes import THINGS
from mtl_d2.data.images import read_label_map
from mtl_d2.engine.launch import leave_groups
from mtl_d2.evaluation.build import build_evaluator, check_evaluation
from mtl_d2.evaluation.cityscapes import CityscapesEvaluator

NAME = "cityscapes_val"
PERSON, CAR = 0, 2
ROAD_CLASS, SKY_CLASS = 0, 10


class Oracle(torch.nn.Module):
    """Predicts the truth: objects of the given classes, and pixels with one class taken for another."""

    def __init__(self, classes=(PERSON, CAR), mistaken=None):
        super().__init__()
        self.records = {r["file_name"]: r for r in DatasetCatalog.get(NAME)}
        self.classes, self.mistaken = classes, mistaken or {}

    def forward(self, inputs):
        return [self.predict(self.records[x["file_name"]]) for x in inputs]

    def predict(self, record):
        size = (record["height"], record["width"])
        objects = [a for a in record["annotations"] if not a["iscrowd"] and a["category_id"] in self.classes]
        instances = Instances(size)
        instances.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in objects]).reshape(-1, 4))
        instances.scores = torch.linspace(0.9, 0.5, len(objects))
        instances.pred_classes = torch.tensor([a["category_id"] for a in objects], dtype=torch.long)
        masks = [torch.from_numpy(polygons_to_bitmask(a["segmentation"], *size)) for a in objects]
        instances.pred_masks = torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)
        labels = read_label_map(record["sem_seg_file_name"], 19, 255, record["sem_seg_table"])
        for true, said in self.mistaken.items():
            labels[labels == true] = said
        scores = np.arange(19)[:, None, None] == labels
        return {"instances": instances, "sem_seg": torch.from_numpy(scores.astype(np.uint8))}


def one_object(mask, kind, score):
    found = Instances(mask.shape, pred_boxes=Boxes(torch.zeros(1, 4)), scores=torch.tensor([score]))
    found.pred_classes, found.pred_masks = torch.tensor([kind]), mask[None]
    return found


def config(output):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = ("detection", "instance", "semantic")
    cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.OUTPUT_DIR = str(output)
    return cfg


@pytest.fixture
def cfg(tmp_path):
    write_tiny_cityscapes(tmp_path / "datasets")
    register_all(str(tmp_path / "datasets"))
    return config(tmp_path / "output")


def evaluate(cfg, model):
    return inference_on_dataset(model, build_test_loader(cfg, NAME), build_evaluator(cfg, NAME))


def evaluate_some(cfg, records, outputs, tasks=("instance",)):
    evaluator = CityscapesEvaluator(NAME, tasks, Path(cfg.OUTPUT_DIR))
    evaluator.reset()
    evaluator.process(records, outputs)
    return evaluator.evaluate()


def files(folder):
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("*")}


def test_missing_scripts_are_told_before_anything_is_trained(cfg, monkeypatch):
    monkeypatch.setattr("mtl_d2.evaluation.cityscapes.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"cityscapes_val: .* `pip install cityscapesscripts`"):
        check_evaluation(cfg)


def test_all_metrics_of_the_truth_are_100_and_nothing_is_written_outside(cfg, tmp_path, monkeypatch):
    scripts = pytest.importorskip("cityscapesscripts")
    monkeypatch.chdir(tmp_path)
    package = os.path.dirname(scripts.__file__)
    before = files(tmp_path / "datasets"), files(package), dict(vars(np))
    results = evaluate(cfg, Oracle())
    assert set(results) == {"bbox", "segm", "sem_seg"}
    for group, metric in [("bbox", "AP"), ("segm", "AP"), ("segm", "AP50"), ("sem_seg", "mIoU"), ("sem_seg", "iIoU")]:
        assert results[group][metric] == pytest.approx(100), (group, metric)
    inside = {k: v for k, v in files(package).items() if "__pycache__" not in k}
    assert inside == {k: v for k, v in before[1].items() if "__pycache__" not in k}
    assert files(tmp_path / "datasets") == before[0]
    assert {path.name for path in tmp_path.iterdir()} == {"datasets", "output"}
    assert set(vars(np)) == set(before[2])
    left = {path.suffix for path in (tmp_path / "output").rglob("*") if path.is_file()}
    assert ".png" not in left


def test_values_worked_out_by_hand(cfg):
    pytest.importorskip("cityscapesscripts")
    results = evaluate(cfg, Oracle(classes=(CAR,), mistaken={SKY_CLASS: ROAD_CLASS}))
    # Two classes occur: all cars are found, no person is.
    assert results["segm"]["AP"] == results["segm"]["AP50"] == pytest.approx(50)
    assert results["segm"]["AP-person"] == pytest.approx(0)
    assert results["bbox"]["AP"] == pytest.approx(50)
    # Road gets the sky's pixels, the sky none; person and car are right. Caravan and static are ignored.
    labels = label_ids(instance_ids())
    road, sky = (labels == 7).sum(), (labels == SKY).sum()
    assert results["sem_seg"]["IoU-road"] == pytest.approx(100 * road / (road + sky))
    assert results["sem_seg"]["mIoU"] == pytest.approx(100 * (road / (road + sky) + 0 + 1 + 1) / 4)


def test_only_the_tasks_of_the_config_are_evaluated(cfg):
    pytest.importorskip("cityscapesscripts")
    cfg.MTL.TASKS = ("detection",)
    assert set(evaluate(cfg, Oracle())) == {"bbox"}
    cfg.MTL.TASKS = ("semantic",)
    assert set(evaluate(cfg, Oracle())) == {"sem_seg"}


def test_no_prediction_at_all_is_zero(cfg):
    pytest.importorskip("cityscapesscripts")
    empty = Instances((HEIGHT, WIDTH), scores=torch.zeros(0))  # of a model that makes no masks of no boxes
    results = evaluate_some(cfg, DatasetCatalog.get(NAME), [{"instances": empty}, {}], ("instance", "semantic"))
    assert results["segm"]["AP"] == results["segm"]["AP-car"] == results["segm"]["AP50"] == 0
    assert np.isnan(results["segm"]["AP-bus"])  # there is none
    assert results["sem_seg"]["mIoU"] == results["sem_seg"]["IoU-road"] == results["sem_seg"]["iIoU"] == 0
    nothing = evaluate_some(cfg, [], [], ("instance", "semantic"))
    assert nothing["segm"]["AP"] == nothing["sem_seg"]["mIoU"] == 0


def test_predictions_on_ignored_regions_only_are_no_find_and_cost_no_other_number(cfg):
    pytest.importorskip("cityscapesscripts")
    record = DatasetCatalog.get(NAME)[0]
    found = Oracle(classes=(CAR,)).predict(record)["instances"]
    mask = torch.from_numpy(label_ids(instance_ids()) == STATIC)
    found = Instances.cat([found, one_object(mask, PERSON, 0.9)])
    metrics = evaluate_some(cfg, [record], [{"instances": found}])["segm"]
    assert [metrics[k] for k in ("AP-person", "AP-car", "AP")] == pytest.approx([0, 100, 50])


def test_a_false_car_above_the_only_one_is_25_by_cityscapes_and_50_by_coco(cfg, tmp_path):
    pytest.importorskip("cityscapesscripts")
    cfg.MTL.TASKS = ("detection", "instance")
    ids = np.full((HEIGHT, WIDTH), ROAD, np.uint16)
    ids[10:30, 10:30] = 1000 * 26
    for path in (tmp_path / "datasets").rglob("*instanceIds.png"):
        assert cv2.imwrite(str(path), ids) if "000000" in path.name else path.unlink() is None
    for path in (tmp_path / "datasets").rglob("there_000001*leftImg8bit.png"):
        path.unlink()
    register_all(str(tmp_path / "datasets"))
    (record,) = DatasetCatalog.get(NAME)
    false = one_object(torch.from_numpy(ids == ROAD), CAR, 0.9)
    found = Instances.cat([Oracle().predict(record)["instances"], false])
    found.scores[0] = 0.5
    evaluators = build_evaluator(cfg, NAME)
    evaluators.reset()
    evaluators.process([record], [{"instances": found}])
    results = evaluators.evaluate()
    assert results["segm"]["AP"] == pytest.approx(25)
    assert results["bbox"]["AP"] == pytest.approx(50, abs=0.5)  # COCO's 101 points of recall


def test_an_object_without_score_or_pixels_is_left_out(cfg, caplog):
    pytest.importorskip("cityscapesscripts")
    record = DatasetCatalog.get(NAME)[0]
    sky = torch.from_numpy(label_ids(instance_ids()) == SKY)
    wrong = [one_object(sky, CAR, float("nan")), one_object(torch.zeros_like(sky), CAR, 1.0)]
    found = Instances.cat([Oracle().predict(record)["instances"], *wrong])
    assert evaluate_some(cfg, [record], [{"instances": found}])["segm"]["AP-car"] == pytest.approx(100)
    assert "left out 1 objects whose score is NaN" in caplog.text


def test_classes_are_known_by_the_metadatas_names(cfg):
    pytest.importorskip("cityscapesscripts")
    metadata = {**MetadataCatalog.get(NAME).as_dict(), "thing_classes": list(THINGS)[::-1]}
    MetadataCatalog.remove(NAME)
    MetadataCatalog.get(NAME).set(**{k: v for k, v in metadata.items() if k != "name"})
    record = DatasetCatalog.get(NAME)[0]
    found = Oracle().predict(record)["instances"]
    found.pred_classes = len(THINGS) - 1 - found.pred_classes
    assert evaluate_some(cfg, [record], [{"instances": found}])["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("thing_classes", ["car", "van"], r"cityscapes_val: its metadata has \['van'\] in `thing_classes`"),
        ("gt_dir", None, "cityscapes_val: its metadata has no `gt_dir`"),
    ],
)
def test_metadata_that_do_not_fit_are_told_when_the_evaluator_is_made(cfg, tmp_path, key, value, said):
    metadata = {**MetadataCatalog.get(NAME).as_dict(), key: value}
    MetadataCatalog.remove(NAME)
    MetadataCatalog.get(NAME).set(**{k: v for k, v in metadata.items() if k != "name" and v is not None})
    with pytest.raises(DataError, match=said):
        CityscapesEvaluator(NAME, ["instance"], tmp_path)


def test_names_with_spaces_and_a_users_settings_for_the_scripts_do_no_harm(cfg, tmp_path, monkeypatch):
    pytest.importorskip("cityscapesscripts")
    monkeypatch.setenv("CITYSCAPES_EXPORT_DIR", str(tmp_path / "nowhere"))
    for path in list((tmp_path / "datasets").rglob("there_*")):
        path.rename(path.with_name(path.name.replace("there", "over there")))
    register_all(str(tmp_path / "datasets"))
    results = evaluate(cfg, Oracle())
    assert results["segm"]["AP"] == results["sem_seg"]["mIoU"] == pytest.approx(100)


def test_predictions_of_another_size_and_missing_truths_are_told_all_at_once(cfg):
    first, second = DatasetCatalog.get(NAME)
    Path(second["sem_seg_file_name"]).unlink()
    outputs = [{"sem_seg": torch.zeros(19, HEIGHT, WIDTH - 1)}, {"sem_seg": torch.zeros(19, HEIGHT, WIDTH)}]
    said = rf"(?s){first['file_name']}: .*size \(48, 79\).*has \(48, 80\).*cannot read {second['sem_seg_file_name']}"
    with pytest.raises(DataError, match=said):
        evaluate_some(cfg, [first, second], outputs, ("semantic",))


def test_what_the_scripts_complain_of_is_passed_on(cfg):
    pytest.importorskip("cityscapesscripts")
    cfg.MTL.TASKS = ("semantic",)
    for path in Path(cfg.OUTPUT_DIR).parent.rglob("*val*/**/*labelIds.png"):
        path.write_bytes(path.read_bytes()[:60])  # the size can still be read
    evaluator = build_evaluator(cfg, NAME)
    evaluator.reset()
    record = DatasetCatalog.get(NAME)[0]
    evaluator.process([record], [{"sem_seg": torch.zeros(19, HEIGHT, WIDTH)}])
    assert not evaluator.evaluate()
    assert re.search(r"Unable to load .*labelIds\.png", *evaluator.failures.values())


def test_what_fails_on_one_rank_is_said_on_all(cfg, monkeypatch):
    pytest.importorskip("cityscapesscripts")
    said = "Cityscapes' scripts: there.png: of another rank"
    gathered = []

    def all_gather(given):
        gathered.append(given)
        return [given, said] if isinstance(given, str) else [given]

    monkeypatch.setattr("mtl_d2.evaluation.cityscapes.comm.all_gather", all_gather)
    record = DatasetCatalog.get(NAME)[0]
    with pytest.raises(RuntimeError, match=f"^{said}$"):
        evaluate_some(cfg, [record], [Oracle().predict(record)])
    assert gathered[-1] == ""  # it has nothing to complain of itself
    assert "png" not in str(gathered)  # counts of images and of mistakes, and no prediction


def evaluate_on(rank, root, rendezvous, output):
    from detectron2.utils import comm

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    register_all(root)
    torch.save(evaluate(config(output), Oracle(classes=(CAR,))), f"{output}/{rank}.pt")
    leave_groups()


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(cfg, tmp_path):
    pytest.importorskip("cityscapesscripts")
    shared = tmp_path / "shared"
    shared.mkdir()
    torch.multiprocessing.spawn(
        evaluate_on, (str(tmp_path / "datasets"), str(tmp_path / "rendezvous"), str(shared)), nprocs=2
    )
    first, second = (torch.load(shared / f"{rank}.pt", weights_only=False) for rank in range(2))
    alone = evaluate(cfg, Oracle(classes=(CAR,)))
    for group, metrics in alone.items():
        assert first[group] == pytest.approx(metrics, nan_ok=True)
    assert not second
