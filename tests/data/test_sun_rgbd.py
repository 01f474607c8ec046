import h5py
import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.io import savemat

from mtl_d2.data import DataError, build_train_loader, check_data, register_all
from mtl_d2.data.datasets import sun_rgbd, sun_rgbd_mirror
from mtl_d2.data.datasets.nyu_classes import CLASSES_13
from mtl_d2.data.datasets.sun_rgbd_classes import CLASSES_37, TABLES
from mtl_d2.data.images import read_ids

from .matlab_files import save_73
from .tiny_sun_rgbd import (
    HEIGHT,
    MILLIMETRES,
    ORDER,
    TEST,
    TRAIN,
    WIDTH,
    label_map,
    write,
    write_meta,
    write_tiny_mirror,
    write_tiny_sun_rgbd,
)

TASKS = ("semantic", "semantic/classes_37", "depth")
TOOLBOX = "sun_rgbd/SUNRGBDtoolbox"


@pytest.fixture
def root(tmp_path):
    write_tiny_sun_rgbd(tmp_path)
    return tmp_path


@pytest.fixture
def mirror(tmp_path):
    write_tiny_mirror(tmp_path)
    return tmp_path


@pytest.fixture
def sun_cfg(cfg):
    cfg.MTL.TASKS = TASKS
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 13
    cfg.MTL.TASK_OPTIONS["semantic/classes_37"] = CfgNode({"NUM_CLASSES": 37})
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


def use(cfg, root, names):
    register_all(str(root))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (f"{names}_train",), (f"{names}_test",)
    return cfg


def test_a_split_is_the_list_of_the_toolbox(root):
    assert [r["image_id"] for r in sun_rgbd.load(str(root), "train")] == [TRAIN[0], TRAIN[1]]
    assert [r["image_id"] for r in sun_rgbd.load(str(root), "test")] == [TEST[0]]


def test_an_image_has_its_own_label_map_out_of_all(root):
    for number, folder in enumerate(ORDER):
        split = "train" if folder in TRAIN else "test"
        record = next(r for r in sun_rgbd.load(str(root), split) if r["image_id"] == folder)
        assert record["file_name"] == str(root / "sun_rgbd/SUNRGBD" / folder / f"image/{number}.jpg")
        assert (read_ids(record["sem_seg_file_name"]) == label_map(number)).all()
        assert record["sem_seg_file_name/classes_37"] == record["sem_seg_file_name"]


def test_classes_are_37_and_the_13_that_they_are_gathered_in():
    assert (len(CLASSES_37), len(TABLES[""])) == (37, 38)
    gathered = {name: CLASSES_13[TABLES[""][i]] for i, name in enumerate(CLASSES_37, 1)}
    same = {name for name in CLASSES_13 if name in CLASSES_37}
    assert {name: gathered[name] for name in same} == {name: name for name in same}
    # by hand, of class13Mapping.mat
    some = {
        "door": "wall",
        "blinds": "window",
        "cabinet": "furniture",
        "desk": "table",
        "floor mat": "floor",
        "bag": "objects",
    }
    assert {name: gathered[name] for name in some} == some
    assert set(gathered.values()) == set(CLASSES_13)
    assert TABLES[""][0] == TABLES["classes_37"][0] == 255


@pytest.mark.parametrize("names", ["sun_rgbd", "sun_rgbd_raw_depth", "sun_rgbd_mirror"])
def test_the_data_are_sound_and_a_sample_has_three_labels(sun_cfg, root, mirror, names):
    check_data(use(sun_cfg, root, names))
    sample = next(iter(build_train_loader(sun_cfg)))[0]
    assert sample["tasks"] == TASKS
    # the four quarters: no label, wall, bed, bag
    height, width = sample["sem_seg"].shape
    places = [(row * height // 4, column * width // 4) for row in (1, 3) for column in (1, 3)]
    assert [int(sample["sem_seg"][place]) for place in places] == [255, 11, 0, 6]
    assert [int(sample["sem_seg/classes_37"][place]) for place in places] == [255, 0, 3, 36]
    metres = 1.5 if names == "sun_rgbd_mirror" else MILLIMETRES / 1000
    np.testing.assert_allclose(sample["depth"].unique(), [0, metres], rtol=1e-6)


def test_depth_is_that_of_its_name(root):
    register_all(str(root))
    for name, folder in (("sun_rgbd_test", "depth_bfx"), ("sun_rgbd_raw_depth_test", "depth")):
        assert f"/{folder}/1_abs.png" in DatasetCatalog.get(name)[0]["depth_file_name"]
        assert MetadataCatalog.get(name).depth_encoding == "sun_rgbd"


def test_the_mirror_numbers_label_maps_from_the_test_set_on(mirror):
    train, test = (sun_rgbd_mirror.load(str(mirror), split) for split in ("train", "test"))
    assert [r["image_id"] for r in (*train, *test)] == ["train-000001", "train-000002", "test-000001"]
    assert train[0]["sem_seg_file_name"].endswith("labels/img-005051.png")
    assert test[0]["sem_seg_file_name"].endswith("labels/img-000001.png")
    assert (read_ids(train[1]["sem_seg_file_name"]) == label_map(12)).all()


def test_the_mirror_may_lack_depth(mirror):
    for path in (mirror / "sun_rgbd").glob("sunrgbd_*_depth/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"2 of 2 files \*.png of a label .*sunrgbd_train_depth/1.png"):
        sun_rgbd_mirror.load(str(mirror), "train")
    for path in (mirror / "sun_rgbd").glob("sunrgbd_*_depth"):
        path.rmdir()
    assert not any("depth_file_name" in r for r in sun_rgbd_mirror.load(str(mirror), "train"))


def test_a_value_beyond_the_classes_is_refused(sun_cfg, root):
    labels = [np.full((HEIGHT, WIDTH), 38, np.uint8) for _ in ORDER]
    save_73(root / TOOLBOX / "Metadata/SUNRGBD2Dseg.mat", {"SUNRGBD2Dseg": {"seglabel": labels}})
    with pytest.raises(DataError, match=r"seglabel\[.\].*38.*beyond"):
        check_data(use(sun_cfg, root, "sun_rgbd"))


# Bad input.


def test_a_wrong_root_names_the_variable(tmp_path):
    with pytest.raises(DataError, match=r"sun_rgbd not found .*DETECTRON2_DATASETS"):
        sun_rgbd.load(str(tmp_path), "train")
    with pytest.raises(DataError, match=r"SUNRGBD-test_images not found .*DETECTRON2_DATASETS"):
        sun_rgbd_mirror.load(str(tmp_path), "test")


@pytest.mark.parametrize(
    "file", ["traintestSUNRGBD/allsplit.mat", "Metadata/SUNRGBDMeta.mat", "Metadata/SUNRGBD2Dseg.mat"]
)
def test_a_missing_file_of_the_toolbox_is_named(root, file):
    (root / TOOLBOX / file).unlink()
    with pytest.raises(DataError, match=rf"{file}.*: unpack SUNRGBDtoolbox there") as error:
        sun_rgbd.load(str(root), "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file, cut off", b"no MATLAB file at all" * 20])
def test_a_damaged_file_of_the_toolbox_is_one_line(root, content):
    path = root / TOOLBOX / "traintestSUNRGBD/allsplit.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"cannot read {path}") as error:
        sun_rgbd.load(str(root), "train")
    assert "\n" not in str(error.value)


def test_a_file_of_another_version_is_told_by_what_it_lacks(root):
    write_meta(root, without="depthname")
    with pytest.raises(DataError, match=r"SUNRGBDMeta has no field depthname, it has \['rgbpath', 'rgbname', 'K'\]"):
        sun_rgbd.load(str(root), "train")
    savemat(root / TOOLBOX / "Metadata/SUNRGBDMeta.mat", {"Other": np.eye(2)})
    with pytest.raises(DataError, match=r"no SUNRGBDMeta in it"):
        sun_rgbd.load(str(root), "train")


def test_label_maps_fewer_than_images_are_said_with_their_number(sun_cfg, root):
    save_73(root / TOOLBOX / "Metadata/SUNRGBD2Dseg.mat", {"SUNRGBD2Dseg": {"seglabel": [label_map()]}})
    with pytest.raises(DataError, match=r"SUNRGBD2Dseg.seglabel has 1 samples, counted from 0, and none of"):
        check_data(use(sun_cfg, root, "sun_rgbd"))


def test_missing_depth_maps_are_counted_and_the_first_named(root):
    for path in (root / "sun_rgbd/SUNRGBD" / TRAIN[1]).glob("depth_bfx/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 2 files \*.png of a label .*xtion/a/b/depth_bfx/2_abs.png: unpack"):
        sun_rgbd.load(str(root), "train")
    sun_rgbd.load(str(root), "test")


def test_missing_label_maps_of_the_mirror_are_counted(mirror):
    (mirror / "sun_rgbd/sunrgbd_train_test_labels/img-005052.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files \*.png .*img-005052.png: unpack"):
        sun_rgbd_mirror.load(str(mirror), "train")


def test_images_of_another_size_than_their_labels_are_refused(sun_cfg, mirror):
    write(mirror / "sun_rgbd/SUNRGBD-train_images/img-000001.jpg", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(DataError, match=r"img-005051.png"):
        check_data(use(sun_cfg, mirror, "sun_rgbd_mirror"))


def test_one_label_map_is_read_of_the_file_not_all(root, monkeypatch):
    record = sun_rgbd.load(str(root), "test")[0]
    read = []
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda self, *a, of=h5py.Dataset.__getitem__, **k: read.append(self.name) or of(self, *a, **k),
    )
    read_ids(record["sem_seg_file_name"])
    assert [name for name in read if name.startswith("/#refs#")] == ["/#refs#/seglabel1"]
