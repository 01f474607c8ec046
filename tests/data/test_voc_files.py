import re
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from scipy.io import savemat

from mtl_d2.data import DataError, MultiTaskMapper, check_data, register_all
from mtl_d2.data.datasets import voc, voc_files
from mtl_d2.data.images import read_ids

from .matlab_files import save_73
from .tiny_voc import (
    HEIGHT,
    PERSON,
    WIDTH,
    label_map,
    thing,
    write_list,
    write_tiny_voc,
)


def load(root, name):
    return voc.load(str(root), name)


def refused(cfg):
    try:
        check_data(cfg)
    except DataError as error:
        return str(error).splitlines()
    return []


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
def test_what_is_wrong_with_an_xml_file_is_one_line(voc_root, content, said):
    whole = content if "<annotation>" in content or not content else f"<annotation>{content}</annotation>"
    (voc_root / "VOC2007/Annotations/000001.xml").write_text(whole)
    with pytest.raises(DataError, match=said) as error:
        load(voc_root, "voc_det_07_trainval")
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
def test_missing_files_of_a_task_are_counted_and_the_first_named(voc_root, files, name, said):
    for path in voc_root.glob(files):
        path.unlink()
    with pytest.raises(DataError, match=said):
        load(voc_root, name)


def test_an_empty_list_is_refused(voc_root):
    write_list(voc_root / "VOC2007/ImageSets/Main/test.txt", [""])
    with pytest.raises(DataError, match=r"Main/test.txt names no image"):
        load(voc_root, "voc_det_07_test")


def test_a_missing_year_names_both_places_and_the_variable(tmp_path):
    with pytest.raises(DataError, match=r"neither folder .*/VOC2007 nor .*kit/VOC2007 found .*DETECTRON2_DATASETS"):
        load(tmp_path, "voc_det_07_test")


def test_without_any_labels_of_sbd_both_places_are_named(voc_root):
    shutil.rmtree(voc_root / "VOC2012/SegmentationClassAug")
    with pytest.raises(DataError, match=r"neither folder .*SegmentationClassAug nor SBD in .*sbd or .*benchmark_REL"):
        load(voc_root, "voc_seg_12_train_aug")


def test_a_missing_mat_of_sbd_is_counted(tmp_path):
    write_tiny_voc(tmp_path, augmented=False)
    (tmp_path / "sbd/cls/2008_000005.mat").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files \*.mat of a label .*2008_000005.mat: unpack SBD"):
        load(tmp_path, "voc_seg_12_train_aug")


def test_maps_in_colours_are_refused(voc_cfg, voc_root):
    path = voc_root / "VOC2012/SegmentationClassAug/2007_000003.png"
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
