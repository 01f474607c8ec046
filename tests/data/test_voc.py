import re
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from scipy.io import savemat

from mtl_d2.data import DataError, MultiTaskMapper, build_train_loader, check_data, register_all
from mtl_d2.data.datasets import voc, voc_files
from mtl_d2.data.images import read_ids
from mtl_d2.data.loader import training_records
from mtl_d2.data.objects import REGIONS
from mtl_d2.data.pictures import TEST_IMAGES, TRAINED_ON, picture

from .matlab_files import save_73
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


@pytest.fixture
def root(tmp_path):
    write_tiny_voc(tmp_path)
    return tmp_path


@pytest.fixture
def voc_cfg(cfg, root):
    register_all(str(root))
    cfg.MODEL.FCOS.NUM_CLASSES = 20
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 21
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("voc_det_seg_train",), ("voc_det_07_test", "voc_det_seg_12_val")
    cfg.MTL.TASKS = ("detection", "semantic")
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


def ids(records):
    return [record["image_id"] for record in records]


def load(root, name):
    return voc.load(str(root), name)


def refused(cfg):
    try:
        check_data(cfg)
    except DataError as error:
        return str(error).splitlines()
    return []


def test_a_box_is_the_pixels_from_its_first_to_its_last(root):
    record = load(root, "voc_det_07_test")[0]
    assert record["file_name"] == str(root / "VOC2007/JPEGImages/000002.jpg")
    assert (record["image_id"], record["height"], record["width"]) == ("2007_000002", HEIGHT, WIDTH)
    # xmin 11 to xmax 30, counted from 1: 20 pixels from 10 on
    assert record["annotations"] == [
        {"bbox": [10, 4, 30, 36], "bbox_mode": BoxMode.XYXY_ABS, "category_id": PERSON - 1, "iscrowd": 0}
    ]


def test_names_read_the_lists_that_they_are_of(root):
    assert ids(load(root, "voc_det_07_test")) == [f"2007_{stem}" for stem in TEST_07]
    assert ids(load(root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)
    assert ids(load(root, "voc_seg_12_val")) == ids(load(root, "voc_det_seg_12_val")) == list(SEG_VAL)
    assert len(load(root, "voc_det_0712_trainval")) == 6


def test_an_image_that_both_years_have_is_one_record_with_both_labels(root):
    records = {r["image_id"]: r for r in load(root, "voc_det_seg_train_as_published")}
    assert set(records) == OF_07 | {"2008_000001", "2008_000002", "2008_000005"} | set(TRAIN_AUG)
    both = records["2007_000003"]
    assert both["file_name"].endswith("VOC2007/JPEGImages/000003.jpg")
    assert both["sem_seg_file_name"].endswith("VOC2012/SegmentationClassAug/2007_000003.png")
    assert "sem_seg_file_name" not in records["2007_000001"]
    assert "annotations" not in records["2007_000002"]  # of 2007's test set: 2012 has its label map alone


def test_images_of_a_test_set_are_left_out_of_the_union_and_counted(root, caplog):
    records = load(root, "voc_det_seg_train")
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


def test_the_list_may_be_missing_where_those_of_sbd_are_there(root, tmp_path):
    (root / "VOC2012/ImageSets/Segmentation/train_aug.txt").unlink()
    with pytest.raises(DataError, match=r"train_aug.txt not found, nor the lists of SBD"):
        load(root, "voc_seg_12_train_aug")
    write_tiny_voc(tmp_path / "other", augmented=False)
    shutil.move(tmp_path / "other/sbd", root / "sbd")
    assert ids(load(root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)


def test_a_list_may_name_files_and_a_label_beside_each(root):
    lines = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png" for stem in TRAIN_AUG]
    write_list(root / "VOC2012/ImageSets/Segmentation/train_aug.txt", lines)
    assert ids(load(root, "voc_seg_12_train_aug")) == list(TRAIN_AUG)


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


def test_difficult_objects_are_regions_that_nothing_is_learnt_from(voc_cfg, root):
    write_xml(root / "VOC2007/Annotations/000001.xml", [thing("person"), thing("bottle", (1, 1, 9, 9), DIFFICULT)])
    record = load(root, "voc_det_07_trainval")[0]
    assert [(a["category_id"], a["iscrowd"]) for a in record["annotations"]] == [(PERSON - 1, 0), (BOTTLE - 1, 1)]
    sample = MultiTaskMapper(voc_cfg, True)(record, 0)
    assert sample["instances"].gt_classes.tolist() == [PERSON - 1]
    assert len(sample[REGIONS]) == 1


def test_an_image_of_difficult_objects_alone_shows_none(voc_cfg, root):
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_det_07_trainval",), ()
    voc_cfg.MTL.TASKS = ("detection",)
    write_xml(root / "VOC2007/Annotations/000001.xml", [thing("person", extra=DIFFICULT)])
    check_data(voc_cfg)
    assert len(training_records(voc_cfg, "voc_det_07_trainval")) == 3
    voc_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_records(voc_cfg, "voc_det_07_trainval")) == 2


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size><width/></size>"])
def test_without_a_size_in_its_file_an_image_has_its_own(voc_cfg, root, size):
    path = root / "VOC2007/Annotations/000001.xml"
    write_xml(path, [thing("person")], size)
    assert not {"height", "width"} & set(voc_files.read_objects(path))
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_det_07_trainval",), ("voc_det_07_test",)
    voc_cfg.MTL.TASKS = ("detection",)
    check_data(voc_cfg)
    samples = [sample for _, batch in zip(range(2), build_train_loader(voc_cfg), strict=False) for sample in batch]
    sizes = {(sample["height"], sample["width"]) for sample in samples}
    assert sizes == {(HEIGHT, WIDTH)}


def test_parts_of_a_person_are_no_objects(root):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    path = root / "VOC2007/Annotations/000001.xml"
    write_xml(path, [thing("person", extra=part)])
    assert [a["bbox"] for a in voc_files.read_objects(path)["annotations"]] == [[10, 4, 30, 36]]


def test_an_image_without_objects_shows_none(root):
    write_xml(root / "VOC2007/Annotations/000001.xml", [])
    assert load(root, "voc_det_07_trainval")[0]["annotations"] == []


@pytest.mark.parametrize("value", [0, 255])
def test_a_map_of_background_alone_is_a_label_and_one_of_no_labels_is_none(voc_cfg, root, value):
    path = root / "VOC2012/SegmentationClassAug/2007_000003.png"
    write_map(path, np.full_like(label_map(), value))
    record = next(r for r in load(root, "voc_det_seg_train") if r["image_id"] == "2007_000003")
    sample = MultiTaskMapper(voc_cfg, True)(record, 0)
    assert sample["tasks"] == (("detection", "semantic") if value == 0 else ("detection",))


# The leak between 2007 and 2012.


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
def test_training_on_images_of_a_test_set_is_refused(voc_cfg, root, monkeypatch, train, test, shared):
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = (train,), (test,)
    if test == "voc_2007_test":  # whose folder detectron2 has set when it was imported
        records = [{**r, "image_id": r["image_id"][-6:]} for r in load(root, "voc_det_07_test")]
        monkeypatch.setitem(DatasetCatalog.data, test, lambda: records)
    said = [line for line in refused(voc_cfg) if "of its images are in the test set" in line]
    start = f"{train}: {shared} of its images are in the test set {test}, the first is {root}"
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


# Bad input.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<annotation><object>", r"000001.xml: not valid XML \(no element found: line 1"),
        ("", r"000001.xml: not valid XML \(no element found"),
        (thing("unicorn"), r"object 0 is of class 'unicorn', none of VOC's 20"),
        ("<object><bndbox/></object>", r"object 0 is of class '', none"),
        ("<object><name>dog</name></object>", r"object 0, 'dog', has no number xmin in its `bndbox`"),
        (thing("dog", (1, 2, "", 4)), r"object 0, 'dog', has no number xmax"),
    ],
)
def test_what_is_wrong_with_an_xml_file_is_one_line(root, content, said):
    whole = content if "<annotation>" in content or not content else f"<annotation>{content}</annotation>"
    (root / "VOC2007/Annotations/000001.xml").write_text(whole)
    with pytest.raises(DataError, match=said) as error:
        load(root, "voc_det_07_trainval")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        (
            "VOC2007/Annotations/00000[13].xml",
            "voc_det_07_trainval",
            r"2 of 3 files \*.xml of a label .*first is .*000001.xml",
        ),
        (
            "VOC2012/SegmentationClass/*.png",
            "voc_seg_12_val",
            r"2 of 2 files \*.png of a label .*the first is .*2007_000004.png",
        ),
        (
            "VOC2012/SegmentationClassAug/2008*",
            "voc_seg_12_train_aug",
            r"2 of 4 files \*.png .*2008_000001.png: unpack",
        ),
        ("VOC2007/ImageSets/Main/test.txt", "voc_det_07_test", r"list .*Main/test.txt not found"),
    ],
)
def test_missing_files_of_a_task_are_counted_and_the_first_named(root, files, name, said):
    for path in root.glob(files):
        path.unlink()
    with pytest.raises(DataError, match=said):
        load(root, name)


def test_an_empty_list_is_refused(root):
    write_list(root / "VOC2007/ImageSets/Main/test.txt", [""])
    with pytest.raises(DataError, match=r"Main/test.txt names no image"):
        load(root, "voc_det_07_test")


def test_a_missing_year_names_both_places_and_the_variable(tmp_path):
    with pytest.raises(DataError, match=r"neither folder .*/VOC2007 nor .*kit/VOC2007 found .*DETECTRON2_DATASETS"):
        load(tmp_path, "voc_det_07_test")


def test_without_any_labels_of_sbd_both_places_are_named(root):
    shutil.rmtree(root / "VOC2012/SegmentationClassAug")
    with pytest.raises(DataError, match=r"neither folder .*SegmentationClassAug nor SBD in .*sbd or .*benchmark_REL"):
        load(root, "voc_seg_12_train_aug")


def test_a_missing_mat_of_sbd_is_counted(tmp_path):
    write_tiny_voc(tmp_path, augmented=False)
    (tmp_path / "sbd/cls/2008_000005.mat").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files \*.mat of a label .*2008_000005.mat: unpack SBD"):
        load(tmp_path, "voc_seg_12_train_aug")


def test_maps_in_colours_are_refused(voc_cfg, root):
    path = root / "VOC2012/SegmentationClassAug/2007_000003.png"
    assert cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (line,) = refused(voc_cfg)
    assert line.startswith("voc_det_seg_train: ")
    assert "channels" in line or "one 8-bit channel" in line


def test_labels_in_sbds_files_are_trained_on(voc_cfg, tmp_path):
    write_tiny_voc(tmp_path / "sbd_alone", augmented=False)
    register_all(str(tmp_path / "sbd_alone"))
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_seg_12_train_aug",), ("voc_seg_12_val",)
    voc_cfg.MTL.TASKS = ("semantic",)
    check_data(voc_cfg)
    samples = {r["image_id"]: MultiTaskMapper(voc_cfg, True)(r, 0) for r in DatasetCatalog.get("voc_seg_12_train_aug")}
    assert samples["2008_000005"]["sem_seg"].unique().tolist() == [0, PERSON]  # SBD has no border
    assert samples["2008_000001"]["sem_seg"].unique().tolist() == [0, PERSON, 255]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GTinst": {"Segmentation": label_map()}}, "has no array 'GTcls.Segmentation'; it holds 'GTinst'"),
        ({"GTcls": {"Boundaries": np.eye(2)}}, "has no array 'GTcls.Segmentation'; it holds 'Boundaries'"),
        ({"GTcls": {"Segmentation": np.full((HEIGHT, WIDTH), 21, np.uint8)}}, r"ids \[21\]"),
        ({"GTcls": {"Segmentation": np.zeros((HEIGHT, WIDTH, 20))}}, "Segmentation"),
        (None, "2008_000005.mat"),
    ],
)
def test_a_mat_of_another_version_is_one_line(voc_cfg, tmp_path, variables, said):
    root = tmp_path / "sbd_alone"
    write_tiny_voc(root, augmented=False)
    path = root / "sbd/cls/2008_000005.mat"
    if variables is None:
        path.write_bytes(path.read_bytes()[:300])
    else:
        savemat(path, variables)
    register_all(str(root))
    voc_cfg.DATASETS.TRAIN, voc_cfg.DATASETS.TEST = ("voc_seg_12_train_aug",), ()
    voc_cfg.MTL.TASKS = ("semantic",)
    (line,) = refused(voc_cfg)
    assert re.search(said, line)
    assert "2008_000005.mat" in line


def test_a_mat_of_matlabs_newer_format_is_read_too(tmp_path):
    save_73(tmp_path / "a.mat", {"GTcls": {"Segmentation": label_map()}})
    assert (read_ids(f"{tmp_path / 'a.mat'}::{voc_files.SBD_ARRAY}") == label_map()).all()


@pytest.mark.data
def test_real_images_are_read_with_their_label_maps(cfg, real_data, tmp_path):
    published = real_data / "fixtures/voc2011_labelme_sample/data_dataset_voc"
    (tmp_path / "VOC2012").mkdir()
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "VOC2012" / folder).symlink_to(published / folder)
    write_list(tmp_path / "VOC2012/ImageSets/Segmentation/train.txt", ("2011_000003", "2011_000006", "2011_000025"))
    register_all(str(tmp_path))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MTL.TASKS = ("voc_seg_12_train",), (), ("semantic",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 21
    check_data(cfg)
    seen = [
        set(np.unique(read_ids(r["sem_seg_file_name"])).tolist()) for r in voc.load(str(tmp_path), "voc_seg_12_train")
    ]
    names = [{voc_files.STUFF_CLASSES[i] for i in ids if i != voc.IGNORE_LABEL} for ids in seen]
    assert names == [
        {"background", "bottle", "person"},
        {"background", "chair", "person", "sofa"},
        {"background", "bus", "car"},
    ]
