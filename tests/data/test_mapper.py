import random

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from mtl_d2.data import DataError, MultiTaskMapper
from mtl_d2.data.geometry import Geometry
from mtl_d2.data.label_map import LabelMapKeys, LabelMapReader
from mtl_d2.data.objects import REGIONS

from .tiny_bdd100k import CAR_MASK, HEIGHT, WIDTH, rectangle, write_image, write_png


@pytest.fixture
def record(tmp_path):
    """One image with a bright rectangle, labelled with its box and its mask."""
    x1, y1, x2, y2 = rectangle(1)
    write_image(tmp_path / "a.jpg", 1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y1 : y2 + 1, x1 : x2 + 1] = CAR_MASK
    write_png(tmp_path / "a.png", mask)
    box = {"bbox": [x1, y1, x2 + 1, y2 + 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2, "iscrowd": 0}
    size = {"height": HEIGHT, "width": WIDTH}
    paths = {"file_name": str(tmp_path / "a.jpg"), "sem_seg_file_name": str(tmp_path / "a.png")}
    return {**paths, **size, "image_id": "a", "annotations": [box]}


def same(a, b):
    return torch.equal(a["image"], b["image"]) and torch.equal(
        a["instances"].gt_boxes.tensor, b["instances"].gt_boxes.tensor
    )


def extent(mask):
    """First and last-plus-one column and row where the mask is true: a box."""
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def test_a_sample_has_what_the_models_need(cfg, record):
    sample = MultiTaskMapper(cfg, True)(record, 5)
    h, w = sample["image"].shape[1:]
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"], sample["image_id"]) == (HEIGHT, WIDTH, "a")
    assert sample["instances"].image_size == (h, w) == sample["sem_seg"].shape
    assert sample["sem_seg"].dtype == torch.int64
    assert sample["instances"].gt_classes.tolist() == [2]
    assert (sample["tasks"], sample["position"]) == (("detection", "semantic"), 5)
    assert not {"annotations", "sem_seg_file_name"} & set(sample)


@pytest.mark.parametrize("crop", [False, True])
def test_image_box_and_mask_stay_together(cfg, record, crop):
    cfg.INPUT.MIN_SIZE_TRAIN = (96,)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop, "relative", [0.9, 0.9]
    mapper = MultiTaskMapper(cfg, True)
    left = []
    for position in range(12):
        sample = mapper(record, position)
        drawn = extent(sample["image"][0].numpy() > 125)
        box = sample["instances"].gt_boxes.tensor[0].numpy()
        assert np.abs(extent(sample["sem_seg"].numpy() == CAR_MASK) - drawn).max() <= 1
        assert np.abs(box - drawn).max() <= 1.5
        left.append(drawn[0])
    assert len(set(left)) > 1  # some are flipped


def test_the_same_seed_and_position_give_the_same_sample(cfg, record):
    mapper = MultiTaskMapper(cfg, True)
    samples = [mapper(record, p) for p in range(6)]
    np.random.rand(3)
    assert all(same(MultiTaskMapper(cfg, True)(record, p), samples[p]) for p in range(6))
    assert len({tuple(s["image"].shape) for s in samples}) > 1


def test_another_seed_gives_other_samples(cfg, record):
    other = cfg.clone()
    other.SEED = cfg.SEED + 1
    one, two = MultiTaskMapper(cfg, True), MultiTaskMapper(other, True)
    assert not all(same(one(record, p), two(record, p)) for p in range(6))


def test_the_global_generators_are_left_as_they_were(cfg, record):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    MultiTaskMapper(cfg, True)(record, 3)
    assert states() == before


def test_the_record_is_left_as_it_was(cfg, record):
    before = {**record, "annotations": [{**a, "bbox": list(a["bbox"])} for a in record["annotations"]]}
    MultiTaskMapper(cfg, True)(record, 0)
    assert record == before


def test_labels_of_other_tasks_are_not_read(cfg, record):
    cfg.MTL.TASKS = ("detection",)
    record["sem_seg_file_name"] = "does not exist"
    sample = MultiTaskMapper(cfg, True)(record, 0)
    assert "sem_seg" not in sample
    assert sample["tasks"] == ("detection",)


@pytest.mark.parametrize(("absent", "left"), [("annotations", "semantic"), ("sem_seg_file_name", "detection")])
def test_partly_labelled_records_are_normal(cfg, record, absent, left):
    del record[absent]
    assert MultiTaskMapper(cfg, True)(record, 0)["tasks"] == (left,)


def test_an_image_without_a_box_is_labelled_for_detection(cfg, record):
    record["annotations"] = []
    sample = MultiTaskMapper(cfg, True)(record, 0)
    assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
    assert "detection" in sample["tasks"]


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_regions_are_no_objects_and_follow_the_image(cfg, record, mark):
    record["annotations"][0][mark] = 1
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "relative", [0.9, 0.9]
    mapper = MultiTaskMapper(cfg, True)
    left = []
    for position in range(12):
        sample = mapper(record, position)
        assert len(sample["instances"]) == 0
        drawn = extent(sample["image"][0].numpy() > 125)
        (box,) = sample[REGIONS].tensor.numpy()
        assert np.abs(box - drawn).max() <= 1.5
        left.append(drawn[0])
    assert len(set(left)) > 1  # some are flipped


def test_regions_outside_the_crop_are_dropped(cfg, record):
    record["annotations"][0]["iscrowd"] = 1
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [8, 8]
    found = [MultiTaskMapper(cfg, True)(record, p).get(REGIONS) for p in range(20)]
    assert {one is None for one in found} == {True, False}
    assert all(one.nonempty().all() for one in found if one is not None)


def test_regions_are_background_where_the_config_says_so(cfg, record):
    plain = MultiTaskMapper(cfg, True)(record, 0)
    record["annotations"].append({**record["annotations"][0], "bbox": [0, 0, 9, 9], "iscrowd": 1})
    cfg.MTL.DATA.CROWD_REGIONS = "background"
    sample = MultiTaskMapper(cfg, True)(record, 0)
    assert sample.keys() == plain.keys()
    assert same(sample, plain)


def test_a_region_needs_no_mask(cfg, record):
    x1, y1, x2, y2 = record["annotations"][0]["bbox"]
    record["annotations"][0]["segmentation"] = [[x1, y1, x2, y1, x2, y2]]
    record["annotations"].append({**record["annotations"][0], "ignore": 1})
    del record["annotations"][1]["segmentation"]
    cfg.MTL.TASKS = ("detection", "instance")
    sample = MultiTaskMapper(cfg, True)(record, 0)
    assert sample["tasks"] == ("detection", "instance")
    assert len(sample["instances"]) == len(sample[REGIONS]) == 1


def test_boxes_outside_the_crop_are_dropped(cfg, record):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [8, 8]
    found = [MultiTaskMapper(cfg, True)(record, p)["instances"] for p in range(20)]
    assert {len(i) for i in found} == {0, 1}
    assert all(i.gt_boxes.nonempty().all() for i in found)


def test_a_crop_of_ignored_pixels_counts_as_unlabelled(cfg, record):
    cv2.imwrite(record["sem_seg_file_name"], np.full((HEIGHT, WIDTH), 255, np.uint8))
    sample = MultiTaskMapper(cfg, True)(record, 0)
    assert "sem_seg" not in sample
    assert sample["tasks"] == ("detection",)


def test_a_data_sets_own_ignore_label_becomes_the_configs(cfg, record):
    sample = MultiTaskMapper(cfg, True)({**record, "ignore_label": CAR_MASK}, 0)
    assert set(sample["sem_seg"].unique().tolist()) == {0, 255}


def test_palette_images_give_their_index(cfg, record):
    with Image.open(record["sem_seg_file_name"]) as image:
        palette = image.convert("P")
    palette.putpalette([200, 10, 90] * 256)
    palette.save(record["sem_seg_file_name"])
    assert set(MultiTaskMapper(cfg, True)(record, 0)["sem_seg"].unique().tolist()) == {0, CAR_MASK}


def test_ids_beyond_the_classes_name_file_and_ids(cfg, record):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 13
    with pytest.raises(DataError, match=r"a.png: holds the ids \[13\], but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 13"):
        MultiTaskMapper(cfg, True)(record, 0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(np.zeros((48, 80, 3), np.uint8), "one 8-bit channel"), (np.zeros((9, 9), np.uint8), "size")],
)
def test_label_maps_that_do_not_fit_name_the_file(cfg, record, pixels, message):
    cv2.imwrite(record["sem_seg_file_name"], pixels)
    with pytest.raises(DataError, match=rf"a.png: .*{message}|a.png: {message}"):
        MultiTaskMapper(cfg, True)(record, 0)


@pytest.mark.parametrize("key", ["file_name", "sem_seg_file_name"])
@pytest.mark.parametrize("left", [0.0, 0.02, 0.7])
def test_a_truncated_file_is_named(cfg, record, key, left):
    with open(record[key], "rb+") as f:
        f.truncate(int(left * len(f.read())))
    with pytest.raises(DataError, match=rf"cannot read image {record[key]} .*: fetch the file again"):
        MultiTaskMapper(cfg, True)(record, 0)


def test_an_image_of_another_size_is_named(cfg, record):
    record["width"] += 1
    with pytest.raises(DataError, match=record["file_name"]):
        MultiTaskMapper(cfg, True)(record, 0)


def test_for_testing_there_is_the_resized_image_and_no_label(cfg, record):
    record["sem_seg_file_name"] = "does not exist"
    cfg.INPUT.MIN_SIZE_TEST = 96
    sample = MultiTaskMapper(cfg, False)(record)
    assert sample["image"].shape == (3, 96, 160)
    assert set(sample) == {"file_name", "height", "width", "image_id", "image"}


def test_without_a_position_detectron2s_own_loaders_can_use_it(cfg, record):
    np.random.seed(0)
    mapper = MultiTaskMapper(cfg, True)
    assert len({tuple(mapper(record)["image"].shape) for _ in range(8)}) > 1


def test_corners_of_a_turned_image_have_no_class(tmp_path):
    path = str(tmp_path / "a.png")
    Image.fromarray(np.full((40, 40), 1, np.uint8)).save(path)
    turn = T.TransformList([T.RotationTransform(40, 40, 45)])
    reader = LabelMapReader(LabelMapKeys(), 2, 255, "NUM_CLASSES")
    seen = reader({"sem_seg_file_name": path}, Geometry(turn, (40, 40), (57, 57)))["sem_seg"]
    assert (seen[0, 0], seen[28, 28]) == (255, 1)
    assert set(seen.unique().tolist()) == {1, 255}
