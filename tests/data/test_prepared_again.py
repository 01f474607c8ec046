"""Kept records: nothing stale, nothing lost, and no start that fails or waits because of them."""

import errno
import fcntl
import functools
import logging
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import build_train_loader, check, check_data, prepared, reading
from mtl_d2.data.record_file import DamagedFileError
from mtl_d2.locks import lock_folder

from .test_prepared import LABELS, readings, run, start  # noqa: F401  # fixtures
from .tiny_bdd100k import HEIGHT, WIDTH


def as_in_another_process(cfg, root):
    reading._FIRST.clear()
    return start(cfg, root)


def read_boxes(path):
    """BDD100K's records, whose objects all have the size that a file says."""
    size = float(Path(path).read_text())
    records = DatasetCatalog.get("bdd100k_det_train")
    return [
        {**record, "annotations": [{**a, "bbox": [0.0, 0.0, size, size]} for a in record["annotations"]]}
        for record in records
    ]


def read_of_two_folders():
    """BDD100K's records, half of whose images are in a second folder."""
    records = DatasetCatalog.get("bdd100k_det_train")
    later = [{**record, "file_name": record["file_name"].replace("/train/", "/later/")} for record in records[3:]]
    return [*records[:3], *later]


def read_images():
    """Images in memory, of which no record says the size."""
    objects = DatasetCatalog.get("bdd100k_det_train")[0]["annotations"]
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    return [{"file_name": f"nowhere/{i}", "image": image, "annotations": objects} for i in range(20)]


@pytest.fixture
def own(run, tiny_root, own_sets):  # noqa: F811
    """Has the run train on a data set of one's own."""

    def register(reader, **metadata):
        usual = MetadataCatalog.get("bdd100k_det_train").as_dict()
        del usual["name"]
        own_sets("own_train", reader, **{**usual, **metadata})
        run.DATASETS.TRAIN, run.DATASETS.TEST = ("own_train", "bdd100k_sem_seg_train"), ()

    return register


@pytest.mark.parametrize("form", ["text", "path", "folder_above", "wrong_path"])
def test_a_file_of_labels_counts_however_it_is_named(run, tiny_root, own, form):  # noqa: F811
    path = tiny_root / "own/below/labels.json"
    path.parent.mkdir(parents=True)
    path.write_text("10")
    named = {"text": str(path), "path": path, "folder_above": [tiny_root / "own"], "wrong_path": [f"{path}s"]}
    own(functools.partial(read_boxes, path), label_files=named[form])
    first = start(run, tiny_root)
    path.write_text("20.0")
    assert as_in_another_process(run, tiny_root) != first


def test_images_that_were_left_out_are_found_once_their_folder_is_there(run, tiny_root, own):  # noqa: F811
    folder = tiny_root / "bdd100k/images/100k/train"
    own(read_of_two_folders, missing_images="leave_out")
    start(run, tiny_root)
    shutil.copytree(folder, folder.with_name("later"))
    as_in_another_process(run, tiny_root)
    assert len(prepared.find(prepared.place_of(run)).sets["own_train"]) == 6


def test_options_of_one_task_count(run, tiny_root, readings):  # noqa: F811
    start(run, tiny_root)
    run.MTL.TASK_OPTIONS.semantic = CfgNode({"IGNORE_VALUE": 77})
    start(run, tiny_root)
    assert len(readings) == 4


def test_metadata_that_cannot_be_written_are_no_mistake(run, tiny_root, own):  # noqa: F811
    own(functools.partial(DatasetCatalog.get, "bdd100k_det_train"), thing_colors=np.zeros((10, 3)))
    first = start(run, tiny_root)
    assert start(run, tiny_root) == first


def test_images_in_memory_beside_large_label_files_are_no_mistake(run, own_sets, tiny_root):  # noqa: F811
    classes = MetadataCatalog.get("bdd100k_det_train").thing_classes
    own_sets("memory", read_images, thing_classes=classes, label_files=[tiny_root / LABELS])
    run.DATASETS.TRAIN = ("memory", "bdd100k_sem_seg_train")
    run.DATASETS.TEST = ()
    check_data(run)


def test_a_file_system_without_locks_is_not_waited_for(run, tiny_root, monkeypatch):  # noqa: F811
    def refuse(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    def wait(seconds):
        raise AssertionError("waits for ever")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(time, "sleep", wait)
    assert start(run, tiny_root)


def test_records_may_be_in_the_folder_that_a_run_holds(run, tiny_root, monkeypatch):  # noqa: F811
    def wait(seconds):
        raise AssertionError("waits for itself")

    run.MTL.DATA.CACHE = "."
    Path(run.OUTPUT_DIR).mkdir()
    monkeypatch.setattr(time, "sleep", wait)
    with lock_folder(Path(run.OUTPUT_DIR)):
        assert start(run, tiny_root)


def test_what_fails_while_training_records_are_made_is_told_where_they_are_trained_on(run, tiny_root, monkeypatch):  # noqa: F811
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(check, "training_sets", fail)
    monkeypatch.setattr("mtl_d2.data.loader.training_sets", fail)
    check_data(run)
    with pytest.raises(ZeroDivisionError):
        build_train_loader(run)


def test_lines_of_the_first_process_are_said_whichever_process_reads(run, tiny_root, monkeypatch, caplog):  # noqa: F811
    run.MTL.DATA.CLASSES.THING = MetadataCatalog.get("bdd100k_det_train").thing_classes[::-1]
    said = {}
    for rank in "1", "0", "2":
        monkeypatch.setenv("RANK", rank)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            start(run, tiny_root)
        said[rank] = [line for line in caplog.messages if "are of MTL.DATA.CLASSES.THING" in line]
    assert [len(said[rank]) for rank in "012"] == [2, 0, 0]


def test_records_that_another_run_replaced_are_not_taken_for_those_that_were_sent(run, tiny_root):  # noqa: F811
    start(run, tiny_root)
    sent = pickle.dumps(prepared.find(prepared.place_of(run)).sets["bdd100k_det_train"])
    (tiny_root / LABELS).write_text((tiny_root / LABELS).read_text().replace("car", "bus"))
    start(run, tiny_root)
    with pytest.raises(DamagedFileError, match="was replaced while this run started"):
        pickle.loads(sent)
