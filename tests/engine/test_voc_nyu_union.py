"""VOC's objects and label maps and NYU's depth in one training: every image is labelled for some of the tasks."""

import math
import os
import tempfile

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from rank_cases import assert_same, in_double, serve
from running import rows, train
from small import small_cfg, small_model
from tiny_nyu_depth import write_tiny_nyu_depth
from tiny_voc import thing, write_map, write_tiny_voc, write_xml

from mtl_d2.balancing import Oracle
from mtl_d2.data import build_train_loader, check_data, register_all
from mtl_d2.engine.build import build_balancer, build_reduction
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.rehearsal import rehearse

pytestmark = pytest.mark.filterwarnings("ignore")
TASKS = ("detection", "semantic", "depth")
METRICS = {"bbox": {"AP": 20.0}, "sem_seg": {"mIoU": 30.0}, "depth": {"delta_1.25": 60.0}}
# The potentials that the authors publish, in percent.
ACHIEVEMENT = [
    "MTL.SCALARIZATION.NAME", "achievement",
    "MTL.SCALARIZATION.MEAN", "geometric",
    "MTL.SCALARIZATION.ACHIEVEMENT.METRICS", ("bbox/AP", "sem_seg/mIoU", "depth/delta_1.25"),
    "MTL.SCALARIZATION.ACHIEVEMENT.POTENTIALS", (57.29, 77.91, 89.30),
    "MTL.DATA.VALIDATION_SHARE", 0.3,
    "TEST.EVAL_PERIOD", 2,
]  # fmt: skip
METHODS = {
    "achievement": [],
    "achievement and pcgrad": ["MTL.GRADIENT.AGGREGATOR", "pcgrad"],
    "achievement and cagrad": ["MTL.GRADIENT.AGGREGATOR", "cagrad"],
}


def union_cfg(root, folder, batch_size, overrides):
    register_all(str(root))
    cfg = small_cfg(*TASKS)
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 20, 21
    cfg.DATASETS.TRAIN = ("voc_det_seg_train", "nyu_depth_train")
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (48,), 48
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = batch_size, 4
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.STEPS = 0.01, 0, ()
    cfg.MTL.LOG_PERIOD, cfg.SEED = 1, 7
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list([*ACHIEVEMENT, *overrides])
    return cfg


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("union")
    write_tiny_voc(root)
    write_tiny_nyu_depth(root)
    return root


def numbers(logged):
    """Losses, coefficients and what was evaluated for the weights; AP of a class that no image shows is undefined."""
    metrics = {f"validation/{group}/{name}" for group, of in METRICS.items() for name in of}
    return {
        (row["iteration"], key): value
        for row in logged
        for key, value in row.items()
        if key.startswith(("loss_", "task_loss/", "coefficient/", "total_loss")) or key in metrics
    }


def labelled(logged):
    """Of each update, the tasks that had a sample."""
    return [tuple(task for task in TASKS if f"task_loss/{task}" in row) for row in logged if "total_loss" in row]


@pytest.mark.parametrize("method", METHODS)
def test_every_update_is_finite_where_no_batch_has_all_tasks(root, tmp_path, method):
    cfg = union_cfg(root, tmp_path, 1, METHODS[method])
    check_data(cfg)
    trainer = train(cfg)
    logged = rows(cfg)
    # Before the first evaluation depth has not been seen; the second batch after it has nothing else.
    assert labelled(logged) == [("detection",), ("detection", "semantic"), ("detection", "semantic"), ("depth",)]
    found = numbers(logged)
    assert all(map(math.isfinite, found.values())), found
    assert {key for i, key in found if key.startswith("validation/")} == {
        "validation/bbox/AP", "validation/sem_seg/mIoU", "validation/depth/delta_1.25"
    }  # fmt: skip
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert trainer._trainer.balancer.scalarization.weighting.accuracies.seen.all()


def test_the_evaluation_gives_the_truth_its_due(root, tmp_path):
    cfg = union_cfg(root, tmp_path, 1, [])
    cfg.DATASETS.TEST = ("voc_det_07_test", "voc_det_seg_12_val", "nyu_depth_test")
    check_data(cfg)
    rehearse(cfg)


@pytest.mark.parametrize("predicted", [0, 1, 2])
def test_a_difficult_object_is_neither_missed_nor_falsely_found(tmp_path, predicted):
    write_tiny_voc(tmp_path)
    easy, difficult = (10.0, 4.0, 30.0, 36.0), (40.0, 0.0, 60.0, 20.0)
    hard = thing("person", (41, 1, 60, 20), "<difficult>1</difficult>")
    for stem in ("000002", "000006"):
        write_xml(tmp_path / f"VOC2007/Annotations/{stem}.xml", [thing("person"), hard])
    register_all(str(tmp_path))
    cfg = small_cfg("detection")
    cfg.OUTPUT_DIR = str(tmp_path)
    evaluator = build_evaluator(cfg, "voc_det_07_test")
    evaluator.reset()
    for record in DatasetCatalog.get("voc_det_07_test"):
        boxes = torch.tensor([difficult] * predicted + [easy])  # the difficult one is found first, and again
        scores, classes = torch.linspace(0.9, 0.5, len(boxes)), torch.full((len(boxes),), 14)
        found = Instances((40, 60), pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
        evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100.0)


def test_coefficients_are_those_of_the_geometric_mean_of_the_tasks_that_are_there(root, tmp_path):
    cfg = union_cfg(root, tmp_path, 1, ["TEST.EVAL_PERIOD", 3])
    train(cfg, until=2)
    one, both = [row for row in rows(cfg) if "total_loss" in row]
    assert one["coefficient/detection"] == pytest.approx(1.0)
    # S = (L_1 L_2)^(1/2) before the first evaluation, so dS / dL_1 = S / (2 L_1)
    losses = both["task_loss/detection"], both["task_loss/semantic"]
    for task, loss in zip(("detection", "semantic"), losses, strict=True):
        assert both[f"coefficient/{task}"] == pytest.approx(math.sqrt(math.prod(losses)) / (2 * loss))


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_of_exactly_0_stops_no_training(tmp_path, method):
    """Difficult objects cover their images, so that nothing is learnt from them: the loss of detection is 0."""
    write_tiny_voc(tmp_path)
    write_tiny_nyu_depth(tmp_path)
    size = (64, 96)  # as the trunk takes it, without a border that would be background
    for stem in ("000001", "000003", "000004"):
        assert cv2.imwrite(str(tmp_path / f"VOC2007/JPEGImages/{stem}.jpg"), np.full((*size, 3), 99, np.uint8))
        covering = thing("person", (1, 1, size[1], size[0]), "<difficult>1</difficult>")
        write_xml(tmp_path / f"VOC2007/Annotations/{stem}.xml", [covering], "")
    write_map(tmp_path / "VOC2012/SegmentationClassAug/2007_000003.png", np.ones(size, np.uint8))
    overrides = ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, "INPUT.MIN_SIZE_TRAIN", (size[0],), *METHODS[method]]
    cfg = union_cfg(tmp_path, tmp_path, 1, overrides)
    trainer = train(cfg, until=3)
    found = numbers(rows(cfg))
    losses = [(found[i, "task_loss/detection"], found.get((i, "task_loss/semantic"))) for i in range(3)]
    assert [tuple(map(bool, of)) for of in losses] == [(False, False), (True, True), (False, True)]
    assert found[2, "coefficient/detection"] == 0
    assert all(map(math.isfinite, found.values())), found
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def train_union(root, overrides, batch_size=2, updates=2):
    """Losses, weights and parameters of updates on the batches of this process, with an evaluation after the first."""
    cfg = union_cfg(root, root, batch_size, overrides)
    reduction, batches = build_reduction(), iter(build_train_loader(cfg))
    balancer, found = build_balancer(cfg).double(), {}
    with in_double(), EventStorage(), torch.jit.optimized_execution(False):
        model = small_model(cfg=cfg).double()
        oracle, optimizer = Oracle(model, reduction), torch.optim.SGD(model.parameters(), lr=0.01)
        for update in range(updates):
            oracle.load(next(batches), update)
            result = balancer(oracle, update, optimizer.step)
            found |= {f"{update} losses": result.losses, f"{update} weights": result.weights.shared}
            if update == 0:
                balancer.scalarization.weighting.on_evaluation(METRICS)
    return found | {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_processes_that_lack_tasks_train_as_one(root):
    jobs = {method: (train_union, (root, overrides)) for method, overrides in METHODS.items()}
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (2, folder, jobs), nprocs=2)
        ranks = [torch.load(os.path.join(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]
    for method, (job, arguments) in jobs.items():
        whole = job(*arguments)
        assert all(torch.isfinite(value).all() for value in whole.values())
        for rank in ranks:
            assert_same(rank[method], whole)
