import logging
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.loader import training_sets
from mtl_d2.data.sampler import FixedShares, Union

from .tiny_bdd100k import DETECTION, SEMANTIC, rectangle


@pytest.fixture
def weighted(cfg, tiny_root):
    cfg.MTL.DATA.SAMPLING, cfg.MTL.DATA.WEIGHTS = "weights", (3.0, 1.0)
    return cfg


def order_of(cfg):
    return build_train_loader(cfg).batch_sampler.order


def places(cfg, n, **where):
    return [place for batch in islice(build_train_loader(cfg, **where).batch_sampler, n) for place in batch]


def test_by_default_it_is_the_union_and_with_shares_per_batch_these(cfg, tiny_root):
    assert isinstance(order_of(cfg), Union)
    cfg.MTL.DATA.PER_DATASET = (3, 1)
    assert isinstance(order_of(cfg), FixedShares)


def test_the_union_by_name_is_the_default_to_the_bit(cfg, tiny_root):
    usual = places(cfg, 20)
    cfg.MTL.DATA.SAMPLING = "union"
    assert places(cfg, 20) == usual


def test_weights_are_how_often_a_data_set_is_drawn(weighted):
    drawn = places(weighted, 1024)
    assert Counter(i < DETECTION for _, i in drawn) == {True: 3072, False: 1024}


def test_a_high_temperature_draws_data_sets_alike(cfg, tiny_root):
    cfg.MTL.DATA.SAMPLING, cfg.MTL.DATA.TEMPERATURE = "weights", 1e6
    assert Counter(i < DETECTION for _, i in places(cfg, 1024)) == {True: 2048, False: 2048}
    cfg.MTL.DATA.TEMPERATURE = 1.0
    number = sum(i < DETECTION for _, i in places(cfg, 1024))
    assert number == round(4096 * DETECTION / (DETECTION + SEMANTIC))


def test_weighted_samples_do_not_depend_on_ranks_and_resuming(weighted):
    whole = places(weighted, 600)
    parts = [places(weighted, 600, rank=r, world_size=2) for r in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert places(weighted, 50, start=2000) == whole[2000:2200]


def test_the_log_says_how_long_an_epoch_of_each_data_set_is(weighted, caplog):
    caplog.set_level(logging.INFO, "mtl_d2")
    weighted.SOLVER.MAX_ITER = 512
    build_train_loader(weighted)
    assert [r.getMessage() for r in caplog.records if "epoch" in r.getMessage()] == [
        "bdd100k_det_train: 6 images; one epoch of it takes 2 updates, and the 512 of SOLVER.MAX_ITER are 256",
        "bdd100k_sem_seg_train: 5 images; one epoch of it takes 5 updates, and the 512 of SOLVER.MAX_ITER are 102.4",
    ]


def test_a_data_set_that_is_never_drawn_is_named_too(weighted, caplog):
    caplog.set_level(logging.INFO, "mtl_d2")
    weighted.SOLVER.MAX_ITER, weighted.MTL.DATA.WEIGHTS = 512, (1e9, 1.0)
    build_train_loader(weighted)
    assert (
        "bdd100k_sem_seg_train: none of its 5 images is drawn in the 512 updates of SOLVER.MAX_ITER" in caplog.messages
    )


def test_weights_are_a_proportion_however_large_they_are(weighted):
    weighted.MTL.DATA.WEIGHTS = (1.5e308, 0.5e308)
    assert Counter(i < DETECTION for _, i in places(weighted, 1024)) == {True: 3072, False: 1024}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PER_DATASET": (2.0, 2.0)}, r"PER_DATASET must be whole numbers, got \(2\.0, 2\.0\)"),
        ({"SAMPLING": "shares"}, "'shares' takes MTL.DATA.PER_DATASET, which is empty"),
        (
            {"SAMPLING": "union", "PER_DATASET": (2, 2)},
            r"PER_DATASET .*SAMPLING 'shares' only, found 'union'",
        ),
        ({"WEIGHTS": (1.0, 2.0)}, r"WEIGHTS .*SAMPLING 'weights' only, found 'auto'"),
        ({"TEMPERATURE": 3.0}, "TEMPERATURE 3.0 says .* 'weights' only"),
        ({"SAMPLING": "weights", "WEIGHTS": (1.0,)}, r"one number for each of DATASETS.TRAIN .* got \(1.0,\)"),
        ({"SAMPLING": "weights", "WEIGHTS": (1.0, 0.0)}, "WEIGHTS must be a list .* > 0"),
        ({"SAMPLING": "weights", "TEMPERATURE": 0.0}, "TEMPERATURE must be a finite number > 0"),
        ({"SAMPLING": "weights", "TEMPERATURE": 2.0, "WEIGHTS": (1.0, 2.0)}, "leave one out"),
        ({"SAMPLING": "sizes"}, "SAMPLING must be one of 'auto', 'union', 'shares', 'weights'"),
        ({"SAME_IMAGES": "both"}, "SAME_IMAGES must be one of 'keep', 'merge', 'refuse'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_does_not_go_together_is_refused_in_one_line(cfg, settings, message):
    for key, value in settings.items():
        cfg.MTL.DATA[key] = value
    with pytest.raises(ConfigError, match=message) as error:
        check_mtl_config(cfg)
    assert sum("MTL.DATA" in line for line in str(error.value).splitlines()) == 1


BOXES = [{"bbox": [1.0, 1.0, 9.0, 9.0], "bbox_mode": 0, "category_id": 2}]


@pytest.fixture
def overlapping(cfg, tiny_root, own_sets):
    """A further training set that has label maps of two images of the first, under their own names."""
    images, maps = tiny_root / "bdd100k/images/100k/train", tiny_root / "bdd100k/labels/sem_seg/masks/train"
    records = [
        {
            "file_name": str(images / f"det-train-{i}.jpg"),
            "height": 48,
            "width": 80,
            "sem_seg_file_name": str(maps / f"seg-train-{i}.png"),
        }
        for i in (1, 3)
    ]
    own_sets("maps_train", records, stuff_classes=list("abcdefghijklmnopqrs"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("bdd100k_det_train", "maps_train"), ()
    return cfg, records


def tasks_of(sets):
    return [["annotations" in r and "sem_seg_file_name" in r for r in records] for records in sets]


def test_by_default_each_data_set_trains_its_own_labels(overlapping, caplog):
    caplog.set_level(logging.INFO, "mtl_d2")
    cfg, records = overlapping
    sets = training_sets(cfg)
    assert [len(s) for s in sets] == [DETECTION, 2]
    assert not any(map(any, tasks_of(sets)))
    assert f"2 images are in several data sets, the first is {records[0]['file_name']}" in caplog.text


def test_a_merged_image_is_one_sample_with_the_labels_of_both(overlapping):
    cfg, records = overlapping
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_sem_seg_train", "maps_train")
    records.append({**records[0], "file_name": records[0]["file_name"].replace("train-1", "train-other")})
    cfg.MTL.DATA.SAME_IMAGES = "merge"
    sets = training_sets(cfg)
    assert tasks_of(sets) == [[False, True, False, True, False, False], [False] * SEMANTIC, [False]]
    assert sets[0][1]["image_id"] == "det-train-1"
    assert sets[0][1]["sem_seg_file_name"] == records[0]["sem_seg_file_name"]


def test_a_merged_set_is_trained_with_both_tasks_on_one_image(overlapping):
    cfg, records = overlapping
    records.append(
        {**records[0], "file_name": records[0]["file_name"].replace("100k/train/det-train-1", "10k/train/seg-train-1")}
    )
    cfg.MTL.DATA.SAME_IMAGES, cfg.SOLVER.IMS_PER_BATCH = "merge", DETECTION + 1
    check_data(cfg)
    (batch,) = islice(build_train_loader(cfg), 1)
    assert Counter(s["tasks"] for s in batch) == {
        ("detection",): DETECTION - 2,
        ("detection", "semantic"): 2,
        ("semantic",): 1,
    }


def test_the_two_folders_of_bdd100k_have_the_same_image_under_one_name(cfg, tiny_root, own_sets):
    frames = [{"file_name": f"/data/bdd100k/images/{part}/x.jpg"} for part in ("100k/train", "10k/val", "10k/test")]
    own_sets("one", [{**frames[0], "annotations": BOXES}], thing_classes=list("abcdefghij"))
    own_sets("two", [{**frames[1], "sem_seg_file_name": "m.png"}], stuff_classes=["a"])
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.SAME_IMAGES = ("one", "two"), "refuse"
    with pytest.raises(
        DataError, match=r"'refuse', and 1 images are in more than one .* first is /data/bdd100k/images/10k"
    ):
        training_sets(cfg)


def test_images_in_two_sets_are_refused_where_that_is_asked_for(overlapping):
    cfg, records = overlapping
    cfg.MTL.DATA.SAME_IMAGES = "refuse"
    line = f"'refuse', and 2 images are in more than one data set .*, the first is {records[0]['file_name']}"
    for read in (check_data, training_sets):
        with pytest.raises(DataError, match=line):
            read(cfg)


def test_two_labels_of_one_kind_are_one_only_where_they_say_the_same(overlapping):
    cfg, records = overlapping
    cfg.MTL.DATA.SAME_IMAGES = "merge"
    x1, y1, x2, y2 = rectangle(1)
    records[0]["annotations"] = [{"bbox": [x1, y1, x2 + 1, y2 + 1], "bbox_mode": 0, "category_id": 2, "iscrowd": 0}]
    assert tasks_of(training_sets(cfg))[0].count(True) == 2
    records[0]["annotations"][0]["category_id"] = 5
    line = r"one sample of 1 images, the first is .*det-train-1.jpg: two data sets label 'detection' differently"
    for read in (check_data, training_sets):
        with pytest.raises(DataError, match=line):
            read(cfg)


def test_objects_of_classes_that_the_other_set_is_not_annotated_for_are_added(overlapping, own_sets, tiny_root):
    cfg, records = overlapping
    names = list("abcdefghij")
    image = {key: records[0][key] for key in ("file_name", "height", "width")}
    other = [{**BOXES[0], "category_id": 7}]
    own_sets("cars", [{**image, "annotations": BOXES}], thing_classes=names, annotated_classes=names[:5])
    own_sets("bikes", [{**image, "annotations": other}], thing_classes=names, annotated_classes=names[5:])
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.SAME_IMAGES, cfg.MTL.TASKS = ("cars", "bikes"), "merge", ("detection",)
    check_data(cfg)
    ((record,), _) = training_sets(cfg)
    assert [a["category_id"] for a in record["annotations"]] == [2, 7]
    assert "annotated_classes" not in record  # it is for all, now
    MetadataCatalog.get("cars").annotated_classes.append(names[7])
    for read in (check_data, training_sets):
        with pytest.raises(DataError, match="two data sets label 'detection' differently"):
            read(cfg)


def test_label_maps_are_compared_by_what_is_in_them(overlapping, own_sets, tmp_path):
    cfg, records = overlapping
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(records[0]["sem_seg_file_name"]).read_bytes())
    own_sets("more", [{**records[0], "sem_seg_file_name": str(copy)}], stuff_classes=list("abcdefghijklmnopqrs"))
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.SAME_IMAGES = ("maps_train", "bdd100k_det_train", "more"), "merge"
    assert [len(s) for s in training_sets(cfg)] == [2, DETECTION - 2, 0]
    cfg.MTL.DATA.PER_DATASET = (1, 2, 1)
    with pytest.raises(DataError, match=r"'merge' leaves no image to more, .*: name it first in DATASETS.TRAIN"):
        training_sets(cfg)
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(DataError, match="two data sets label 'semantic' differently"):
        training_sets(cfg)


def test_records_of_different_sizes_are_not_merged(overlapping):
    cfg, records = overlapping
    cfg.MTL.DATA.SAME_IMAGES = "merge"
    records[1]["width"] = 40
    with pytest.raises(
        DataError, match=r"1 images, the first is .*det-train-3.jpg: their records have different sizes"
    ):
        training_sets(cfg)


def test_labels_of_a_teacher_and_named_tasks_are_merged_too(overlapping):
    cfg, records = overlapping
    cfg.MTL.DATA.SAME_IMAGES, cfg.MTL.TASKS = "merge", ("detection", "semantic", "semantic/lane")
    records[0] |= {"sem_seg_file_name/lane": "l.png", "sem_seg_table/lane": b"x", "pseudo/sem_seg_file_name": "p.png"}
    records[0]["pseudo/annotations"] = []
    merged = training_sets(cfg)[0][1]
    assert {key: merged.get(key) for key in records[0] if "/" in key} == {
        k: v for k, v in records[0].items() if "/" in k
    }


def test_a_set_that_is_named_twice_is_still_seen_twice(overlapping):
    cfg, _ = overlapping
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.SAME_IMAGES = ("bdd100k_det_train", "bdd100k_det_train"), "merge"
    assert [len(s) for s in training_sets(cfg)] == [DETECTION, DETECTION]
