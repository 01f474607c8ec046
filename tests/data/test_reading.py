"""Every reading of a data set gives the same records, in this process and in every other."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, build_train_loader, check_data, fingerprint, reading
from mtl_d2.data.loader import training_records
from mtl_d2.data.reading import changed_records, digest, digests, read_records, require_same_records
from mtl_d2.tasks.registry import label_files


def records(n=4, folder="/data/a", **more):
    return [{"file_name": f"{folder}/{i}.jpg", "image_id": i, "annotations": [], **more} for i in range(n)]


def changing(*readings):
    """A reader that gives another of its readings at each call."""
    remaining = iter(readings)
    return lambda: next(remaining)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (
            [{**r, "image_id": r["image_id"] + 4} for r in records()],
            "another image_id, first in record 0, now /data/a/0",
        ),
        (records()[::-1], "the records are in another order, first in record 0, now /data/a/3.jpg"),
        (records(3), "4 records at first, 3 now"),
        (records(4, "/data/b"), "another file_name, first in record 0, now /data/b/0.jpg"),
        ([*records(3), {**records()[3], "annotations": [{}]}], "another number of annotations, first in record 3"),
        ([*records(3), {**records()[3], "sem_seg_file_name": "m"}], "another sem_seg_file_name, first in record 3"),
    ],
)
def test_a_second_reading_that_differs_is_refused_with_the_first_difference(own_sets, second, says):
    own_sets("own_train", changing(records(), second))
    read_records("own_train")
    with pytest.raises(DataError, match="own_train: its reader numbers or orders its records anew") as e:
        read_records("own_train")
    assert says in str(e.value)


def test_a_reader_that_counts_on_is_refused_before_the_training(cfg, tiny_root, own_sets):
    number = itertools.count()

    def read():
        return [{**r, "image_id": next(number)} for r in DatasetCatalog.get("bdd100k_det_val")]

    own_sets("own_val", read, **DETECTION)
    cfg.DATASETS.TEST = ("own_val",)
    with pytest.raises(
        DataError, match=r"^own_val: its reader numbers .*another image_id, first in record 0, now .*\): have"
    ):
        check_data(cfg)


def test_a_name_that_is_registered_anew_may_give_other_records(own_sets):
    own_sets("own_train", records)
    read_records("own_train")
    DatasetCatalog["own_train"] = lambda: records(2)
    assert len(read_records("own_train")) == 2


def test_a_copy_of_the_data_elsewhere_has_the_same_digest(own_sets):
    sets = {
        "a": records(),
        "moved": records(folder="/elsewhere"),
        "reversed": records()[::-1],
        "fewer": records(3),
        "labelled": [{**r, "annotations": [{}]} for r in records()],
        "renumbered": [{**r, "image_id": -r["image_id"]} for r in records()],
    }
    for name, content in sets.items():
        own_sets(name, content)
    own_sets("classes", records(), thing_classes=["dog"])
    first, moved, *others = map(digest, [*sets, "classes"])
    assert first == moved
    assert len({first, *others}) == 1 + len(others)


def test_the_digest_is_that_of_every_process():
    code = (
        "import runpy, sys\n"
        "module = runpy.run_path(sys.argv[1])\n"  # alone: the package imports torch
        "records = [{'file_name': f'/x/{n}.jpg', 'image_id': n, 'annotations': []} for n in 'abc']\n"
        "print(hash('abc'), module['fingerprint'](module['columns'](records), ['dog']).digest())"
    )
    command = [sys.executable, "-c", code, fingerprint.__file__]
    found = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in "12"
    ]
    (one, digest_of_one), (two, digest_of_two) = map(bytes.split, found)
    assert one != two
    assert digest_of_one == digest_of_two


def test_processes_that_read_other_records_are_named(own_sets, monkeypatch):
    own_sets("own_train", records())
    own_sets("own_val", records())
    monkeypatch.setattr(reading.comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(reading.comm, "all_gather", lambda mine: [mine, mine, {**mine, "own_val": "another"}])
    require_same_records(["own_train"])
    with pytest.raises(
        DataError, match=r"^own_val: processes \[2\] read other records than process 0.*: have its"
    ) as e:
        require_same_records(["own_train", "own_val"])
    assert len(str(e.value).splitlines()) == 1


def test_a_run_that_goes_on_knows_whether_its_records_are_the_same(own_sets):
    own_sets("own_train", records())
    own_sets("own_val", records())
    before = digests(["own_train", "own_val"])
    assert changed_records(before) == []
    DatasetCatalog["own_train"] = lambda: records(3)
    (line,) = changed_records(before)
    assert line.startswith("own_train: its records, or their order, are not those of the run that stopped: restore")


def test_only_labels_that_a_task_reads_keep_a_run_from_going_on(own_sets):
    sets = {
        "own_plain": records(),
        "own_depth": [{**r, "depth_file_name": f"/x/{r['image_id']}.png"} for r in records()],
        "own_moved": [{**r, "depth_file_name": f"/y/{r['image_id']}.png"} for r in records()],
        "own_other": [{**r, "depth_file_name": f"/x/{3 - r['image_id']}.png"} for r in records()],
    }
    for name, content in sets.items():
        own_sets(name, content)
    assert len({digest(name, label_files(["detection", "semantic"])) for name in sets}) == 1
    plain, depth, moved, other = (digest(name, label_files(["detection", "depth"])) for name in sets)
    assert depth == moved
    assert len({plain, depth, other}) == 3


def test_a_digest_of_earlier_versions_is_still_one(own_sets):
    # By the version before depth and normals, whose Cityscapes named disparity by another key.
    made = [{"file_name": f"/x/{n}.jpg", "image_id": n, "sem_seg_file_name": f"/y/{n}.png"} for n in "abc"]
    own_sets("own_train", [{**r, "depth_file_name": "z"} for r in made], thing_classes=["dog"])
    assert (
        changed_records(
            {"own_train": "de1c3145de8452ffe3ee0a82879627f34a2e260a03856b6bb6b74c3818e9859d"}, label_files(["semantic"])
        )
        == []
    )


def test_the_training_does_not_depend_on_the_readers_order(cfg, tiny_root, own_sets):
    given = DatasetCatalog.get("bdd100k_det_train")
    for name, order in (("one", given), ("other", [given[i] for i in (3, 0, 5, 1, 4, 2)])):
        own_sets(name, order, **DETECTION)
    cfg.MTL.TASKS = ("detection",)
    streams = []
    for name in ("one", "other"):
        cfg.DATASETS.TRAIN = (name,)
        streams.append([s["file_name"] for batch in itertools.islice(build_train_loader(cfg), 3) for s in batch])
    assert streams[0] == streams[1]


def test_paths_may_be_pathlibs_and_the_records_stay_as_they_are(own_sets):
    given = [{"file_name": Path("/a/0.jpg"), "sem_seg_file_name": Path("/a/0.png")}]
    own_sets("own_train", given)
    assert read_records("own_train") == [{"file_name": "/a/0.jpg", "sem_seg_file_name": "/a/0.png"}]
    assert isinstance(given[0]["file_name"], Path)


@pytest.mark.parametrize("bad", [{"image_id": 1}, ["0.jpg"], {"file_name": None}, {"file_name": b"0.jpg"}])
def test_records_without_a_file_are_one_line(own_sets, bad):
    own_sets("own_train", [*records(2), bad])
    with pytest.raises(
        DataError, match=r"^1 of 3 records have no path as `file_name`, the first is record 2, .*: corr"
    ):
        read_records("own_train")


def test_a_label_map_that_is_none_is_one_line(own_sets):
    own_sets("own_train", [*records(2), *records(2, sem_seg_file_name=None)])
    with pytest.raises(DataError, match=r"^2 of 4 records have no path as `sem_seg_file_name`, .*: leave the key out"):
        read_records("own_train")


def test_records_without_their_image_are_left_out_where_the_metadata_ask_for_it(cfg, tiny_root, caplog):
    gone = tiny_root / "bdd100k/images/100k/train/det-train-2.jpg"
    gone.unlink()
    MetadataCatalog.get("bdd100k_det_train").missing_images = "leave_out"
    check_data(cfg)
    assert [r["image_id"][-1] for r in training_records(cfg, "bdd100k_det_train")] == list("01345")
    said = [r.message for r in caplog.records if "left out" in r.message]
    assert said == [
        f"bdd100k_det_train: 1 of 6 records are left out, their image is not there, the first is {gone}: what is "
        "trained on, or measured, is the rest"
    ]


def test_what_to_do_about_missing_images_is_one_of_two_things(cfg, tiny_root):
    MetadataCatalog.get("bdd100k_det_train").missing_images = "ignore"
    with pytest.raises(
        DataError, match="`missing_images` in its metadata must be 'leave_out', or not be set; found 'ignore'"
    ):
        check_data(cfg)


DETECTION = {
    "thing_classes": [
        "pedestrian",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
        "traffic light",
        "traffic sign",
    ],
    "evaluator_type": "coco",
}
