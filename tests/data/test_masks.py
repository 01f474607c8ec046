import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.structures import BitMasks, BoxMode, PolygonMasks
from pycocotools import mask as coco_mask

from mtl_d2.data import MultiTaskMapper
from mtl_d2.data.mapper import seeded

from .tiny_bdd100k import HEIGHT, WIDTH, write_image


@pytest.fixture
def instance_cfg(cfg):
    cfg.MTL.TASKS = ("detection", "instance")
    return cfg


@pytest.fixture
def record(tmp_path):
    write_image(tmp_path / "a.jpg", 0)
    return {
        "file_name": str(tmp_path / "a.jpg"),
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": two_objects("polygon"),
    }


def two_objects(mask_format):
    found = []
    for category, (x1, y1, x2, y2) in enumerate([(4, 6, 31, 26), (40, 10, 78, 40)]):
        if mask_format == "polygon":
            segmentation = [[x1, y1, x2, y1, x2, y2, x1, y2]]
        else:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[y1:y2, x1:x2] = 1
            segmentation = coco_mask.encode(np.asfortranarray(mask))
        found.append({"bbox": [x1, y1, x2, y2], "bbox_mode": BoxMode.XYXY_ABS, "category_id": category})
        found[-1] |= {"iscrowd": 0, "segmentation": segmentation}
    return found


def same_masks(a, b):
    if isinstance(a, BitMasks):
        return torch.equal(a.tensor, b.tensor)
    return all(
        np.array_equal(p, q)
        for one, two in zip(a.polygons, b.polygons, strict=True)
        for p, q in zip(one, two, strict=True)
    )


@pytest.mark.parametrize(
    ("stored", "mask_format", "crop"),
    [("polygon", "polygon", False), ("polygon", "bitmask", False), ("rle", "bitmask", False), ("rle", "bitmask", True)],
)
def test_samples_are_detectron2s_own(instance_cfg, record, stored, mask_format, crop):
    cfg = instance_cfg
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT, cfg.INPUT.IMAGE_LIBRARY_TRAIN = True, mask_format, "pillow"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop, "relative", [0.7, 0.7]
    record["annotations"] = two_objects(stored)
    theirs = DatasetMapper(cfg, True)
    seen = set()
    for position in range(6):
        mine = MultiTaskMapper(cfg, True)(record, position)
        with seeded(cfg.SEED, position):
            wanted = theirs({**record, "annotations": [dict(a) for a in record["annotations"]]})
        assert torch.equal(mine["image"], wanted["image"])
        assert torch.equal(mine["instances"].gt_boxes.tensor, wanted["instances"].gt_boxes.tensor)
        assert torch.equal(mine["instances"].gt_classes, wanted["instances"].gt_classes)
        assert same_masks(mine["instances"].gt_masks, wanted["instances"].gt_masks)
        seen.add(len(mine["instances"]))
    assert 2 in seen


def test_masks_are_not_read_for_detection_alone(instance_cfg, record):
    instance_cfg.MTL.TASKS = ("detection",)
    assert not MultiTaskMapper(instance_cfg, True)(record, 0)["instances"].has("gt_masks")


@pytest.mark.parametrize(("mask_format", "kind"), [("polygon", PolygonMasks), ("bitmask", BitMasks)])
def test_an_image_without_objects_is_labelled_for_masks(instance_cfg, record, mask_format, kind):
    instance_cfg.INPUT.MASK_FORMAT = mask_format
    record["annotations"] = [{**two_objects("polygon")[0], "iscrowd": 1}]
    sample = MultiTaskMapper(instance_cfg, True)(record, 0)
    assert sample["tasks"] == ("detection", "instance")
    assert isinstance(sample["instances"].gt_masks, kind)
    assert len(sample["instances"].gt_masks) == 0


def test_an_object_without_mask_leaves_the_image_to_detection(instance_cfg, record):
    del record["annotations"][1]["segmentation"]
    sample = MultiTaskMapper(instance_cfg, True)(record, 0)
    assert sample["tasks"] == ("detection",)
    assert len(sample["instances"]) == 2
    assert not sample["instances"].has("gt_masks")


def test_the_record_keeps_its_polygons(instance_cfg, record):
    before = [list(a["segmentation"][0]) for a in record["annotations"]]
    MultiTaskMapper(instance_cfg, True)(record, 0)
    assert [a["segmentation"][0] for a in record["annotations"]] == before
    assert utils.annotations_to_instances(record["annotations"], (HEIGHT, WIDTH)).gt_masks.area().tolist() == [
        540,
        1140,
    ]
