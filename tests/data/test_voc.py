import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode

from mtl_d2.data import DataError, MultiTaskMapper, build_train_loader, check_data
from mtl_d2.data.datasets import voc, voc_files
from mtl_d2.data.loader import training_records
from mtl_d2.data.objects import REGIONS

from .tiny_voc import (
    BOTTLE,
    HEIGHT,
    PERSON,
    SEG_VAL,
    TEST_07,
    TRAIN_AUG,
    TRAINVAL_07,
    WIDTH,
    label_map,
    thing,
    write_list,
    write_map,
    write_tiny_voc,
    write_xml,
)

DIFFICULT = "<difficult>1</difficult>"
OF_07 = {f"2007_{stem}" for stem in TRAINVAL_07}


def ids(records):
    return [record["image_id"] for record in records]


def load(root, name):
    return voc.load(str(root), name)


def test_a_box_is_the_pixels_from_its_first_to_its_last(voc_root):
    record = load(voc_root, "voc_det_07_test")[0]
    assert record["file_name"] == str(voc_root / "VOC2007/JPEGImages/000002.jpg")
    assert (record["image_id"], record["height"], record["width"]) == ("2007_000002", HEIGHT, WIDTH)
    # xmin 11 to xmax 30, counted from 1: 20 pixels from 10 on
    assert record["annotations"] == [
        {"bbox": [10, 4, 30, 36], "bbox_mode": BoxMode.XYXY_ABS, "category_id": PERSON - 1, "iscrowd": 0}
    ]


def test_names_read_the_lists_that_they_are_of(voc_root):
    assert ids(load(voc_root, "voc_det_07_test")) == [f"2007_{stem}" for stem in TEST_07]
    assert ids(load(voc_root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)
    assert ids(load(voc_root, "voc_seg_12_val")) == ids(load(voc_root, "voc_det_seg_12_val")) == list(SEG_VAL)
    assert len(load(voc_root, "voc_det_0712_trainval")) == 6


def test_an_image_that_both_years_have_is_one_record_with_both_labels(voc_root):
    records = {r["image_id"]: r for r in load(voc_root, "voc_det_seg_train_as_published")}
    assert set(records) == OF_07 | {"2008_000001", "2008_000002", "2008_000005"} | set(TRAIN_AUG)
    both = records["2007_000003"]
    assert both["file_name"].endswith("VOC2007/JPEGImages/000003.jpg")
    assert both["sem_seg_file_name"].endswith("VOC2012/SegmentationClassAug/2007_000003.png")
    assert "sem_seg_file_name" not in records["2007_000001"]
    assert "annotations" not in records["2007_000002"]  # of 2007's test set: 2012 has its label map alone


def test_images_of_a_test_set_are_left_out_of_the_union_and_counted(voc_root, caplog):
    records = load(voc_root, "voc_det_seg_train")
    assert set(ids(records)) == {"2007_000001", "2007_000003", "2008_000001", "2008_000005"}
    assert (
        "1 images of VOC2007's test set and 2 images of VOC2012's segmentation val are left out" in caplog.messages[0]
    )


@pytest.mark.parametrize("augmented", [True, False])
def test_labels_of_sbd_are_its_own_files_or_those_made_of_them(tmp_path, augmented):
    write_tiny_voc(tmp_path, augmented)
    maps = voc_files.label_maps(str(tmp_path), "train_aug")
    assert sorted(maps) == list(TRAIN_AUG)
    folder = "SegmentationClassAug" if augmented else "SegmentationClass"
    assert maps["2008_000001"] == str(tmp_path / f"VOC2012/{folder}/2008_000001.png")
    assert maps["2008_000005"].endswith("2008_000005.png" if augmented else "cls/2008_000005.mat::GTcls.Segmentation")


def test_the_list_may_be_missing_where_those_of_sbd_are_there(voc_root, tmp_path):
    (voc_root / "VOC2012/ImageSets/Segmentation/train_aug.txt").unlink()
    with pytest.raises(DataError, match=r"train_aug.txt not found, nor the lists of SBD"):
        load(voc_root, "voc_seg_12_train_aug")
    write_tiny_voc(tmp_path / "other", augmented=False)
    shutil.move(tmp_path / "other/sbd", voc_root / "sbd")
    assert ids(load(voc_root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)


def test_a_list_may_name_files_and_a_label_beside_each(voc_root):
    lines = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png" for stem in TRAIN_AUG]
    write_list(voc_root / "VOC2012/ImageSets/Segmentation/train_aug.txt", lines)
    assert ids(load(voc_root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)


def test_the_archives_may_lie_in_vocdevkit(tmp_path):
    write_tiny_voc(tmp_path / "VOCdevkit")
    assert load(tmp_path, "voc_det_07_test")[0]["file_name"].startswith(str(tmp_path / "VOCdevkit/VOC2007"))


def test_classes_have_the_colours_of_vocs_palette():
    # of VOC's development kit: aeroplane, bicycle, person, tvmonitor
    assert [voc_files.colors(21)[i] for i in (1, 2, 15, 20)] == [
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]


def test_the_data_are_sound_and_a_sample_has_what_its_image_is_labelled_for(voc_cfg):
    check_data(voc_cfg)
    records = {r["image_id"]: r for r in DatasetCatalog.get("voc_det_seg_train")}
    mapper = MultiTaskMapper(voc_cfg, True)
    both, boxes = (mapper(records[key], 0) for key in ("2007_000003", "2007_000001"))
    assert (both["tasks"], boxes["tasks"]) == (("detection", "semantic"), ("detection",))
    left, top, right, bottom = both["instances"].gt_boxes.tensor[0].round().int().tolist()
    assert both["sem_seg"].unique().tolist() == [0, PERSON, 255]
    assert (both["sem_seg"][top + 1 : bottom - 1, left + 1 : right - 1] == PERSON).float().mean() > 0.9


# What VOC does not evaluate.


def test_difficult_objects_are_regions_that_nothing_is_learnt_from(voc_cfg, voc_root):
    write_xml(voc_root / "VOC2007/Annotations/000001.xml", [thing("person"), thing("bottle", (1, 1, 9, 9), DIFFICULT)])
    record = load(voc_root, "voc_det_07_trainval")[0]
    assert [(a["category_id"], a["iscrowd"]) for a in record["annotations"]] == [(PERSON - 1, 0), (BOTTLE - 1, 1)]
    sample = MultiTaskMapper(voc_cfg, True)(record, 0)
    assert sample["instances"].gt_classes.tolist() == [PERSON - 1]
    assert len(sample[REGIONS]) == 1


def test_an_image_of_difficult_objects_alone_shows_none(voc_cfg, voc_root):
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_det_07_trainval",), ()
    voc_cfg.MTL.TASKS = ("detection",)
    write_xml(voc_root / "VOC2007/Annotations/000001.xml", [thing("person", extra=DIFFICULT)])
    check_data(voc_cfg)
    assert len(training_records(voc_cfg, "voc_det_07_trainval")) == 3
    voc_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_records(voc_cfg, "voc_det_07_trainval")) == 2


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size><width/></size>"])
def test_without_a_size_in_its_file_an_image_has_its_own(voc_cfg, voc_root, size):
    path = voc_root / "VOC2007/Annotations/000001.xml"
    write_xml(path, [thing("person")], size)
    assert not {"height", "width"} & set(voc_files.read_objects(path))
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_det_07_trainval",), ("voc_det_07_test",)
    voc_cfg.MTL.TASKS = ("detection",)
    check_data(voc_cfg)
    samples = [sample for _, batch in zip(range(2), build_train_loader(voc_cfg), strict=False) for sample in batch]
    sizes = {(sample["height"], sample["width"]) for sample in samples}
    assert sizes == {(HEIGHT, WIDTH)}


def test_parts_of_a_person_are_no_objects(voc_root):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    path = voc_root / "VOC2007/Annotations/000001.xml"
    write_xml(path, [thing("person", extra=part)])
    assert [a["bbox"] for a in voc_files.read_objects(path)["annotations"]] == [[10, 4, 30, 36]]


def test_an_image_without_objects_shows_none(voc_root):
    write_xml(voc_root / "VOC2007/Annotations/000001.xml", [])
    assert load(voc_root, "voc_det_07_trainval")[0]["annotations"] == []


@pytest.mark.parametrize("value", [0, 255])
def test_a_map_of_background_alone_is_a_label_and_one_of_no_labels_is_none(voc_cfg, voc_root, value):
    path = voc_root / "VOC2012/SegmentationClassAug/2007_000003.png"
    write_map(path, np.full_like(label_map(), value))
    record = next(r for r in load(voc_root, "voc_det_seg_train") if r["image_id"] == "2007_000003")
    sample = MultiTaskMapper(voc_cfg, True)(record, 0)
    assert sample["tasks"] == (("detection", "semantic") if value == 0 else ("detection",))
