"""Instance masks of BDD100K's 10k images."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError, MultiTaskMapper, check_data
from mtl_d2.data.datasets.bdd100k import load_instances
from mtl_d2.data.datasets.bdd100k_instances import masks_of_bitmask

from .tiny_bdd100k import CROWD, HEIGHT, SEMANTIC, WIDTH, rectangle, write_json

PEDESTRIAN, CAR = 0, 2


def write_bitmask(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def write_rles(root, *labels):
    frames = [{"name": "seg-train-0.jpg", "labels": list(labels)}]
    write_json(root / "bdd100k/labels/ins_seg/rles/ins_seg_train.json", {"frames": frames})


def rle(rows, columns):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[rows, columns] = 1
    found = coco_mask.encode(np.asfortranarray(mask))
    return {"size": found["size"], "counts": found["counts"].decode()}


def test_a_bitmask_gives_boxes_masks_classes_and_crowd_regions(tiny_root):
    records = DatasetCatalog.get("bdd100k_ins_seg_train")
    assert len(records) == SEMANTIC
    car, crowd = records[1]["annotations"]
    x1, y1, x2, y2 = rectangle(1)
    assert (car["category_id"], car["iscrowd"], car["bbox"]) == (CAR, 0, [x1, y1, x2 + 1, y2 + 1])
    assert coco_mask.decode(car["segmentation"])[y1 : y2 + 1, x1 : x2 + 1].all()
    assert coco_mask.area(car["segmentation"]) == (x2 + 1 - x1) * (y2 + 1 - y1)
    assert (crowd["category_id"], crowd["iscrowd"]) == (PEDESTRIAN, 1)
    assert coco_mask.decode(crowd["segmentation"])[CROWD].all()


def test_images_without_masks_and_masks_without_an_image_are_left_out_and_said(tiny_root, caplog):
    path = tiny_root / "bdd100k/labels/ins_seg/rles/ins_seg_train.json"
    write_json(path, {"frames": [{"name": f"seg-train-{i}.jpg"} for i in (0, 1, 2, 9)]})
    assert [r["image_id"] for r in load_instances(str(tiny_root), "train")] == [
        "seg-train-0",
        "seg-train-1",
        "seg-train-2",
    ]
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()] == [
        f"2 of 5 images have no label in {path} and are left out, the first is seg-train-3",
        f"1 of 4 labels have no image in {path.parents[3]}/images/10k/train and are left out, the first is seg-train-9",
    ]
    MetadataCatalog.get("bdd100k_ins_seg_train").set(unpaired_files="refuse")
    with pytest.raises(DataError, match="bdd100k_ins_seg_train: 2 of 5 images have no label"):
        DatasetCatalog.get("bdd100k_ins_seg_train")


def test_metadata_name_the_eight_classes_of_instance_masks(tiny_root):
    assert MetadataCatalog.get("bdd100k_ins_seg_val").thing_classes[-1] == "bicycle"
    assert len(MetadataCatalog.get("bdd100k_ins_seg_val").thing_classes) == 8


def test_instance_sets_pass_the_check_of_the_data_and_give_masks(cfg, tiny_root):
    cfg.MTL.TASKS, cfg.INPUT.MASK_FORMAT = ("detection", "instance"), "bitmask"
    cfg.MODEL.FCOS.NUM_CLASSES = 8
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("bdd100k_ins_seg_train",), ("bdd100k_ins_seg_val",)
    check_data(cfg)
    sample = MultiTaskMapper(cfg, True)(DatasetCatalog.get("bdd100k_ins_seg_train")[0], 0)
    assert sample["instances"].gt_classes.tolist() == [CAR]
    assert sample["instances"].gt_masks.tensor.any()


@pytest.mark.parametrize(("attributes", "crowd"), [(0b1100, 0), (0b0010, 1), (0b0001, 1), (0b1111, 1)])
def test_crowd_and_ignored_are_left_out_of_training(tmp_path, attributes, crowd):
    (found,) = masks_of_bitmask(write_bitmask(tmp_path / "a.png", [[(3, attributes, 0, 1)]]))
    assert found["iscrowd"] == crowd


def test_an_object_in_pieces_is_one_and_numbers_have_two_bytes(tmp_path):
    first, second, none = (3, 0, 0, 1), (3, 0, 1, 1), (0, 3, 0, 1)
    found = masks_of_bitmask(write_bitmask(tmp_path / "a.png", [[first, second, none, first], [second] * 4]))
    assert [a["bbox"] for a in found] == [[0, 0, 4, 1], [0, 0, 4, 2]]
    assert [int(coco_mask.area(a["segmentation"])) for a in found] == [2, 5]


def test_a_bitmask_that_is_covered_wholly_keeps_its_first_object(tmp_path):
    found = masks_of_bitmask(write_bitmask(tmp_path / "a.png", [[(1, 0, 0, 1), (2, 0, 0, 2)]]))
    assert [a["category_id"] for a in found] == [0, 1]


def test_an_empty_bitmask_has_no_objects(tmp_path):
    assert masks_of_bitmask(write_bitmask(tmp_path / "a.png", np.zeros((4, 4, 4)))) == []


def test_bitmasks_of_panoptic_segmentation_and_colormaps_are_refused(tmp_path):
    path = write_bitmask(tmp_path / "a.png", [[(35, 0, 0, 31)]])
    with pytest.raises(DataError, match=r"a.png: object 31 has category 35, but instance masks have 1 to 8"):
        masks_of_bitmask(path)
    path = write_bitmask(tmp_path / "b.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"b.png: expected a bitmask of four 8-bit channels, found shape \(4, 4\)"):
        masks_of_bitmask(path)


def test_rles_are_read_where_they_are_and_say_the_same_as_bitmasks(tiny_root):
    expected = load_instances(str(tiny_root), "train")[0]["annotations"]
    x1, y1, x2, y2 = rectangle(0)
    car = {"category": "car", "rle": rle(slice(y1, y2 + 1), slice(x1, x2 + 1))}
    crowd = {"category": "person", "attributes": {"crowd": True}, "rle": rle(*CROWD)}
    write_rles(tiny_root, car, crowd, {"category": "car", "box2d": {}})
    (record,) = load_instances(str(tiny_root), "train")
    assert json.loads(json.dumps(record["annotations"])) == json.loads(json.dumps(expected))


def test_rles_of_unknown_categories_and_broken_ones_are_an_error(tiny_root):
    write_rles(tiny_root, {"category": "traffic sign", "rle": rle(0, 0)}, {"category": "car", "rle": {"size": [1, 1]}})
    with pytest.raises(DataError, match="1 masks of unknown category 'traffic sign'") as e:
        load_instances(str(tiny_root), "train")
    assert "1 labels lack `category` or rle's `size` and `counts`" in str(e.value)


def test_rles_without_a_pixel_are_dropped_with_a_line(tiny_root, caplog):
    write_rles(tiny_root, {"category": "car", "rle": rle(slice(0), 0)})
    assert load_instances(str(tiny_root), "train")[0]["annotations"] == []
    assert "dropped 1 masks without a pixel" in caplog.text


@pytest.mark.data
def test_each_number_of_the_toolkits_own_bitmask_is_an_object(real_data):
    path = real_data / "fixtures/bdd100k_repo_testcases/label/testcases/to_rle/ins_seg/masks/0.png"
    pixels = np.array(Image.open(path)).astype(int)
    numbers = pixels[..., 2] * 256 + pixels[..., 3]
    for number, annotation in zip(sorted(set(numbers[numbers > 0])), masks_of_bitmask(path), strict=True):
        np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), numbers == number)
        assert {annotation["category_id"] + 1} == set(pixels[numbers == number, 0])
