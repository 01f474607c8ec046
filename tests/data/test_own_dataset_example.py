from itertools import islice
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

from mtl_d2.data import build_test_loader, build_train_loader, check_data, import_modules
from mtl_d2.data.mapper import read_file

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/camvid_coco.py"
pytestmark = pytest.mark.data


@pytest.fixture
def own(cfg, real_data, monkeypatch, forgotten):
    """The config that docs/datasets.md shows."""
    monkeypatch.setenv("MTL_D2_TEST_DATA", str(real_data))
    cfg.MTL.DATA.MODULES = (str(EXAMPLE),)
    cfg.DATASETS.TRAIN = ("coco_mini_train", "camvid_train")
    cfg.DATASETS.TEST = ("coco_mini_val", "camvid_val")
    cfg.MTL.DATA.PER_DATASET = (2, 2)
    cfg.MODEL.FCOS.NUM_CLASSES = 80
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 11
    import_modules(cfg)
    return cfg


def test_the_example_passes_the_check(own):
    check_data(own)


def test_both_data_sets_train_together(own):
    for batch in islice(build_train_loader(own), 8):
        assert sorted(s["tasks"] for s in batch) == [("detection",)] * 2 + [("semantic",)] * 2
        ids = torch.cat([s["sem_seg"].unique() for s in batch if "sem_seg" in s])
        assert set(ids.tolist()) <= {*range(11), 255}
        classes = torch.cat([s["instances"].gt_classes for s in batch if "instances" in s])
        assert all(0 <= c < 80 for c in classes.tolist())


def test_the_unlabelled_pixels_are_ignored_in_training_and_in_evaluation(own):
    record = DatasetCatalog.get("camvid_val")[0]
    truth = torch.as_tensor(read_file(record["sem_seg_file_name"], None).copy()).long()
    assert (truth == 11).any()
    evaluator = SemSegEvaluator("camvid_val", distributed=False)
    evaluator.reset()
    scores = torch.nn.functional.one_hot(truth.clamp(max=10), 11).permute(2, 0, 1)
    evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)


def test_both_test_sets_are_read(own):
    for name, number in (("coco_mini_val", 79), ("camvid_val", 101)):
        loader = build_test_loader(own, name)
        assert len(loader.dataset) == number
        assert next(iter(loader))[0]["image"].shape[1] <= 48
    assert len(MetadataCatalog.get("coco_mini_val").thing_classes) == 80
