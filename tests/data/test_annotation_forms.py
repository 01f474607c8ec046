"""Objects are trained on as they are meant, whatever form their reader gives them."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, BoxMode
from detectron2.structures.masks import polygons_to_bitmask
from pycocotools import mask as coco_mask

from mtl_d2.data.annotations import clean_annotations
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.data.objects import InstanceReader

from .test_annotations import SQUARE, annotation, clean, records, rle
from .tiny_bdd100k import HEIGHT, WIDTH, write_image

POINTS = np.array(SQUARE).reshape(-1, 2)
PIXELS = coco_mask.decode(rle(HEIGHT, WIDTH)).astype(bool)
RELATIVE = {"bbox": (10 / WIDTH, 10 / HEIGHT, 30 / WIDTH, 30 / HEIGHT), "bbox_mode": BoxMode.XYXY_REL}
FORMS = {
    "box as array": {"bbox": np.array([10.0, 10, 30, 30], np.float32)},
    "box as tensor": {"bbox": torch.tensor([10, 10, 30, 30])},
    "box of texts": {"bbox": ["10", "10", "30", "30"]},
    "relative box": RELATIVE,
    "relative box as array": {**RELATIVE, "bbox": np.array(RELATIVE["bbox"])},
    "class as numpy's number": {"category_id": np.int64(0)},
    "class as text": {"category_id": "0"},
    "iscrowd null": {"iscrowd": None},
    "polygon as array": {"segmentation": [np.array(SQUARE)]},
    "polygon of points": {"segmentation": [POINTS.tolist()]},
    "points": {"segmentation": POINTS.tolist()},
    "points as array": {"segmentation": POINTS},
    "one polygon": {"segmentation": SQUARE},
    "bool pixels": {"segmentation": PIXELS},
    "bool tensor": {"segmentation": torch.from_numpy(PIXELS)},
}


def trained_on(mask_format, image, **change):
    """What the mapper makes of an object, given in some form, after it was cleaned."""
    (given,) = records(annotation(**change))
    cleaned = clean_annotations([{**given, "file_name": image}], True, mask_format)
    assert not cleaned.refused
    assert not cleaned.changes
    reader = InstanceReader(masks=True, mask_format=mask_format, boxes_of_masks=False, leave_regions_out=True)
    mapper = MultiTaskMapper(
        is_train=True, augmentations=[], image_format="BGR", readers={"detection": reader, "instance": reader}
    )
    return mapper(cleaned.records[0])["instances"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_an_object_is_trained_on_the_same_in_whatever_form_it_is_given(form, mask_format, tmp_path):
    if mask_format == "polygon" and form.startswith("bool"):
        assert "INPUT.MASK_FORMAT to 'bitmask'" in next(iter(clean(annotation(**FORMS[form])).refused))
        return
    write_image(tmp_path / "a.png", 0)
    image = str(tmp_path / "a.png")
    plain, found = trained_on(mask_format, image), trained_on(mask_format, image, **FORMS[form])
    assert torch.allclose(found.gt_boxes.tensor, plain.gt_boxes.tensor)
    assert found.gt_classes.tolist() == plain.gt_classes.tolist() == [0]
    masks = [coco_mask_of(i.gt_masks) for i in (plain, found)]
    assert np.array_equal(*masks)
    assert masks[0].sum() == 400


def coco_mask_of(masks):
    return masks.tensor[0].numpy() if isinstance(masks, BitMasks) else polygons_to_bitmask(masks.polygons[0], 48, 80)
