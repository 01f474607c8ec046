"""Drivable areas and lane markings of BDD100K's 100k images."""

import copy
import pickle

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from mtl_d2.data import DataError, MultiTaskMapper, check_data
from mtl_d2.data.datasets.bdd100k import load_driving, load_maps
from mtl_d2.data.datasets.bdd100k_maps import PIXEL_TASKS, lane_mask_mistake, map_keys
from mtl_d2.data.images import read_label_map

from .tiny_bdd100k import DETECTION, HEIGHT, WIDTH, write_frames_of, write_png

# A value of a lane mask, and what it says: category, direction, style.
LANE_VALUES = [
    (0, "crosswalk", "parallel", "solid"),
    (4, "road curb", "parallel", "solid"),
    (7 | 16, "single yellow", "parallel", "dashed"),
    (6 | 32, "single white", "vertical", "solid"),
    (3 | 16 | 32, "double yellow", "vertical", "dashed"),
    (255, "background", "background", "background"),
    (8, "background", "background", "background"),  # its bit alone
]


def ids(record, task):
    classes = (
        MetadataCatalog.get("bdd100k_lane_train").as_dict() | MetadataCatalog.get("bdd100k_drivable_train").as_dict()
    )
    number = len(classes[f"stuff_classes/{task}"])
    return read_label_map(record[f"sem_seg_file_name/{task}"], number, 255, record.get(f"sem_seg_table/{task}"))


def class_names(task):
    return list(next(tasks for tasks in PIXEL_TASKS.values() if task in tasks)[task].colors)


@pytest.mark.parametrize(("value", "category", "direction", "style"), LANE_VALUES)
def test_bits_of_a_lane_mask_become_classes(value, category, direction, style):
    marked = "background" if category == "background" else "lane"
    expected = {"lane": marked, "lane_category": category, "lane_direction": direction, "lane_style": style}
    for task, name in expected.items():
        assert class_names(task)[PIXEL_TASKS["lane"][task].table()[value]] == name


def test_every_value_of_a_lane_mask_is_a_class_of_every_task():
    for task in PIXEL_TASKS["lane"].values():
        assert set(task.table()) == set(range(len(task.colors)))


def test_a_record_keeps_its_tables_where_it_is_pickled_and_does_not_grow_by_them():
    files, tables = map_keys("lane", colormaps=False)
    record = dict.fromkeys(files, "a.png")
    pickled = pickle.dumps({**record, **tables})
    assert pickle.loads(pickled) == {**record, **tables} == copy.deepcopy({**record, **tables})
    assert list(map(bytes, tables.values())) == [task.table() for task in PIXEL_TASKS["lane"].values()]
    assert len(pickled) < len(pickle.dumps({**record, **dict.fromkeys(tables, b"")})) + 256


def test_drivable_maps_hold_class_ids(tiny_root):
    record = DatasetCatalog.get("bdd100k_drivable_val")[0]
    assert "annotations" not in record
    found = ids(record, "drivable")
    assert class_names("drivable") == ["direct", "alternative", "background"]
    assert (found[0, 0], found[-1, 0], found[-1, -1]) == (2, 0, 1)


def test_four_tasks_are_read_of_one_lane_mask(tiny_root):
    record = DatasetCatalog.get("bdd100k_lane_train")[0]
    at = {"line": (HEIGHT - 1, WIDTH // 2), "crosswalk": (HEIGHT // 2, 0), "nothing": (0, 0)}
    names = {
        task: [class_names(task)[ids(record, task)[place]] for place in at.values()]
        for task in ("lane", "lane_category", "lane_direction", "lane_style")
    }
    assert names == {
        "lane": ["lane", "lane", "background"],
        "lane_category": ["single white", "crosswalk", "background"],
        "lane_direction": ["parallel", "vertical", "background"],
        "lane_style": ["dashed", "solid", "background"],
    }


def test_a_driving_record_has_boxes_and_both_maps_of_its_image(tiny_root):
    records = DatasetCatalog.get("bdd100k_det_drivable_lane_val")
    assert len(records) == DETECTION
    for i, record in enumerate(records):
        assert record["file_name"].endswith(f"images/100k/val/det-val-{i}.jpg")
        assert len(record["annotations"]) == (i < DETECTION - 1)
        for kind in PIXEL_TASKS:
            assert record[f"sem_seg_file_name/{kind}"].endswith(f"labels/{kind}/masks/val/det-val-{i}.png")


def test_an_image_is_labelled_for_what_knows_it(tiny_root):
    labels = tiny_root / "bdd100k/labels"
    (labels / "lane/masks/train/det-train-1.png").unlink()
    write_frames_of(tiny_root / "bdd100k", "train", range(DETECTION - 1))
    records = load_driving(str(tiny_root), "train")
    assert [record["image_id"] for record in records] == [f"det-train-{i}" for i in range(DETECTION)]
    assert "annotations" in records[1]
    assert "sem_seg_file_name/drivable" in records[1]
    assert "sem_seg_file_name/lane" not in records[1]
    assert "annotations" not in records[-1]
    assert "sem_seg_file_name/lane" in records[-1]


def test_metadata_name_the_classes_of_each_task(tiny_root):
    metadata = MetadataCatalog.get("bdd100k_det_drivable_lane_train").as_dict()
    assert metadata["thing_classes"][2] == "car"
    for tasks in PIXEL_TASKS.values():
        for task in tasks:
            assert metadata[f"stuff_classes/{task}"][-1] == "background"
            assert len(metadata[f"stuff_colors/{task}"]) == len(metadata[f"stuff_classes/{task}"])
            assert metadata[f"ignore_label/{task}"] == 255


@pytest.fixture
def driving(cfg):
    cfg.MTL.TASKS = ("detection", "semantic/drivable", "semantic/lane", "semantic/lane_style")
    for task, number in (("semantic/drivable", 3), ("semantic/lane", 2), ("semantic/lane_style", 3)):
        cfg.MTL.TASK_OPTIONS[task] = CfgNode({"NUM_CLASSES": number})
    cfg.DATASETS.TRAIN = ("bdd100k_det_drivable_lane_train",)
    cfg.DATASETS.TEST = ("bdd100k_det_drivable_lane_val",)
    return cfg


def test_driving_sets_pass_the_check_of_the_data(driving, tiny_root):
    check_data(driving)


def test_samples_have_objects_and_maps_of_one_image(driving, tiny_root):
    record = DatasetCatalog.get("bdd100k_det_drivable_lane_train")[0]
    sample = MultiTaskMapper(driving, True)(record, 0)
    assert sample["tasks"] == driving.MTL.TASKS
    maps = {name: sample[f"sem_seg/{name}"] for name in ("drivable", "lane", "lane_style")}
    assert {name: ids.unique().tolist() for name, ids in maps.items()} == {
        "drivable": [0, 1, 2],
        "lane": [0, 1],
        "lane_style": [0, 1, 2],
    }
    assert {ids.shape for ids in maps.values()} == {sample["image"].shape[1:]}


@pytest.mark.parametrize(("kind", "part"), [("drivable", "Drivable Area"), ("lane", "Lane Marking")])
def test_a_missing_folder_is_named_with_the_download_it_comes_from(tiny_root, kind, part):
    folder = tiny_root / f"bdd100k/labels/{kind}/masks"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(DataError, match=rf"folder .*labels/{kind}/masks/train not found: unpack '{part}' of BDD100K's"):
        load_driving(str(tiny_root), "train")


def as_colormaps(root, kind):
    """As the toolkit makes them: a palette, and of lanes the lowest four bits."""
    for path in (root / f"bdd100k/labels/{kind}/masks/train").iterdir():
        values = np.array(Image.open(path)) & 15
        colormap = root / f"bdd100k/labels/{kind}/colormaps/train" / path.name
        colormap.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(values)
        image.putpalette(range(256), "RGB")
        image.save(colormap)
        path.unlink()
    path.parent.rmdir()


def test_colormaps_serve_where_there_are_no_masks(tiny_root):
    before = ids(load_maps(str(tiny_root), "train", "drivable")[0], "drivable")
    as_colormaps(tiny_root, "drivable")
    after = load_maps(str(tiny_root), "train", "drivable")[0]
    assert "colormaps" in after["sem_seg_file_name/drivable"]
    np.testing.assert_array_equal(ids(after, "drivable"), before)


def test_colormaps_of_lanes_know_lanes_and_categories_but_neither_style_nor_direction(tiny_root):
    tasks = ("lane", "lane_category")
    record = load_maps(str(tiny_root), "train", "lane")[0]
    before = [ids(record, task) for task in tasks]
    as_colormaps(tiny_root, "lane")
    record = load_maps(str(tiny_root), "train", "lane")[0]
    np.testing.assert_array_equal([ids(record, task) for task in tasks], before)
    assert {key for key in record if key.startswith("sem_seg_file_name")} == {f"sem_seg_file_name/{t}" for t in tasks}


def test_maps_in_colours_are_refused(tiny_root):
    path = tiny_root / "bdd100k/labels/lane/masks/train/a.png"
    write_png(path, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.png holds colours \(mode RGB\).*unpack BDD100K's labels/lane/masks"):
        load_maps(str(tiny_root), "train", "lane")


def counts(**pixels):
    found = np.zeros(256, np.int64)
    for value, number in pixels.items():
        found[int(value[1:])] = number
    return found


@pytest.mark.parametrize(
    "pixels",
    [{"v255": 990, "v4": 8, "v6": 2}, {"v255": 99, "v22": 1}, {"v255": 990, "v0": 5, "v54": 5}],
    ids=["categories", "style", "direction"],
)
def test_lane_masks_read_as_class_ids_are_recognised(pixels):
    assert "read them through a `sem_seg_table`" in lane_mask_mistake(counts(**pixels))


@pytest.mark.parametrize(
    "pixels",
    [{"v255": 10, "v0": 50, "v1": 40}, {"v255": 990, "v13": 10}, {"v255": 990, "v64": 10}, {"v255": 100}, {"v0": 9}],
    ids=["few ignored", "bit of background", "unused bit", "nothing labelled", "no 255"],
)
def test_other_label_maps_are_not_taken_for_lane_masks(pixels):
    assert lane_mask_mistake(counts(**pixels)) is None


@pytest.mark.data
def test_the_toolkits_lane_masks_are_read_and_recognised(real_data):
    masks = sorted((real_data / "fixtures/bdd100k_repo_testcases/eval/testcases/lane/gts").glob("*.png"))
    assert len(masks) == 4
    for path in masks:
        stored = np.array(Image.open(path))
        assert lane_mask_mistake(np.bincount(stored.reshape(-1), minlength=256))
        lane = read_label_map(str(path), 2, 255, PIXEL_TASKS["lane"]["lane"].table())
        np.testing.assert_array_equal(lane, stored == 255)  # 1 = background
        category = read_label_map(str(path), 9, 255, PIXEL_TASKS["lane"]["lane_category"].table())
        np.testing.assert_array_equal(category, np.minimum(stored, 8))
