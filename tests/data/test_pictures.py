import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, check_data
from mtl_d2.data.datasets import voc
from mtl_d2.data.pictures import TEST_IMAGES, TRAINED_ON, picture


def load(root, name):
    return voc.load(str(root), name)


def refused(cfg):
    try:
        check_data(cfg)
    except DataError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ("voc_seg_12_train_aug", "voc_det_07_test", 1),  # 2007_000002 is 000002
        ("voc_det_07_trainval", "voc_seg_12_val", 1),  # 000004 is 2007_000004
        ("voc_det_0712_trainval", "voc_det_seg_12_val", 2),  # and 2008_000002, by its own name
        ("voc_seg_12_train_aug", "voc_2007_test", 1),  # detectron2's own
        ("voc_det_07_trainval", "voc_det_07_test", 0),
        ("voc_seg_12_train_aug", "voc_seg_12_val", 0),
    ],
)
def test_training_on_images_of_a_test_set_is_refused(voc_cfg, voc_root, monkeypatch, train, test, shared):
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = (train,), (test,)
    if test == "voc_2007_test":  # whose folder detectron2 has set when it was imported
        records = [{**r, "image_id": r["image_id"][-6:]} for r in load(voc_root, "voc_det_07_test")]
        monkeypatch.setitem(DatasetCatalog.data, test, lambda: records)
    said = [line for line in refused(voc_cfg) if "of its images are in the test set" in line]
    start = f"{train}: {shared} of its images are in the test set {test}, the first is {voc_root}"
    assert [line.startswith(start) for line in said] == [True] * bool(shared)


def test_the_published_protocol_is_trained_on_by_its_name_and_said(voc_cfg, caplog):
    voc_cfg.DATASETS.TRAIN = ("voc_det_seg_train_as_published",)
    check_data(voc_cfg)
    said = [line for line in caplog.messages if "of its images are in the test set" in line]
    assert [line.split(",")[0] for line in said] == [
        "voc_det_seg_train_as_published: 1 of its images are in the test set voc_det_07_test",
        "voc_det_seg_train_as_published: 2 of its images are in the test set voc_det_seg_12_val",
    ]
    assert MetadataCatalog.get("voc_det_seg_train_as_published").get(TEST_IMAGES) == TRAINED_ON


def test_a_set_that_is_trained_and_tested_on_is_meant_so(voc_cfg):
    voc_cfg.DATASETS.TRAIN = voc_cfg.DATASETS.TEST = ("voc_det_seg_12_val",)
    check_data(voc_cfg)


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/a/VOC2007/JPEGImages/000032.jpg", "VOC 2007_000032"),
        ("VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg", "VOC 2007_000032"),
        ("/sbd/img/2008_000002.jpg", "VOC 2008_000002"),
        ("/coco/000032.jpg", None),
        ("/a/VOC2007/JPEGImages/000032.png", None),
        ("/a/20080_000002.jpg", None),
    ],
)
def test_a_picture_is_known_by_its_file(file, shown):
    assert picture(file) == shown
