"""Records that are read, checked and cleaned once: for other processes and later starts, as long as nothing changes."""

import logging
import multiprocessing
import os
import pickle
from itertools import islice
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, build_train_loader, check_data, prepared, reading, register_all
from mtl_d2.data.checks import records as checked_records
from mtl_d2.data.datasets import bdd100k
from mtl_d2.data.kept_lines import Keeper
from mtl_d2.data.reading import digests, read_records

from .test_loader import contents
from .tiny_bdd100k import HEIGHT, WIDTH, write_frames_of, write_image

LABELS = "bdd100k/labels/det_20/det_train.json"


@pytest.fixture
def run(cfg, tiny_root, tmp_path, monkeypatch):
    """A config whose data sets, small as they are, are worth to be kept."""
    monkeypatch.setattr(prepared, "WORTH", 0)
    monkeypatch.setattr(checked_records, "QUICK", 0)  # nor are they read twice because that is quick
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    cfg.MTL.TASKS = ("detection", "semantic")
    return cfg


@pytest.fixture
def readings(monkeypatch):
    """The names of the files that BDD100K's frames are read from, as often as they are."""
    paths, read = [], bdd100k.read_frames
    monkeypatch.setattr(bdd100k, "read_frames", lambda path: paths.append(path.name) or read(path))
    return paths


def start(cfg, root):
    """As in a process that has read nothing: what a run of two updates is given."""
    register_all(str(root))
    check_data(cfg)
    assert not any(isinstance(handler, Keeper) for handler in logging.getLogger().handlers)
    return contents(islice(build_train_loader(cfg), 2))


def kept(cfg):
    return sorted(Path(cfg.OUTPUT_DIR, "records").glob("*.records"))


def test_a_start_reads_each_label_file_once_and_a_later_one_none(run, tiny_root, readings):
    first = start(run, tiny_root)
    assert sorted(readings) == ["det_train.json", "det_val.json"]
    later = start(run, tiny_root)
    assert len(readings) == 2
    assert later == first


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_those_that_are_read_without_a_cache(run, tiny_root, workers):
    run.DATALOADER.NUM_WORKERS = workers
    start(run, tiny_root)
    with_cache = start(run, tiny_root)
    run.MTL.DATA.CACHE = ""
    assert start(run, tiny_root) == with_cache


def test_without_a_cache_nothing_is_written(run, tiny_root):
    run.MTL.DATA.CACHE = ""
    start(run, tiny_root)
    assert not Path(run.OUTPUT_DIR).exists()


def test_small_label_files_are_read_and_not_kept(cfg, tiny_root, tmp_path):
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    start(cfg, tiny_root)
    assert not Path(cfg.OUTPUT_DIR).exists()


def label_file(root):
    (root / LABELS).write_text((root / LABELS).read_text().replace("car", "bus"))


def same_size_and_time(root):
    path = root / LABELS
    before = path.stat()
    path.write_text(path.read_text().replace("car", "bus"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def further_image(root):
    write_image(root / "bdd100k/images/100k/train/det-train-7.jpg", 0)


def other_map(root):
    path = root / "bdd100k/labels/sem_seg/masks/train/seg-train-0.png"
    os.utime(path, ns=(1, 1))


def damaged(root):
    (path,) = (root / "run/records").glob("*.records")
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


def foreign(root):
    (path,) = (root / "run/records").glob("*.records")
    path.write_bytes(pickle.dumps({"a": 1}))


@pytest.mark.parametrize(
    "change", [label_file, same_size_and_time, further_image, other_map, damaged, foreign], ids=lambda f: f.__name__
)
def test_whatever_changes_is_read_and_checked_anew(run, tiny_root, readings, change):
    start(run, tiny_root)
    change(tiny_root)
    prepared.digest_of_file.__globals__["_digest_of_file"].cache_clear()  # as in another process
    start(run, tiny_root)
    assert len(readings) == 4
    start(run, tiny_root)
    assert len(readings) == 4
    assert len(kept(run)) == 1


def test_a_missing_image_is_refused_as_ever(run, tiny_root):
    start(run, tiny_root)
    (tiny_root / "bdd100k/images/100k/train/det-train-3.jpg").unlink()
    with pytest.raises(DataError, match="1 of 6 image files are missing"):
        start(run, tiny_root)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.MASK_FORMAT", "bitmask"),
        ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", True),
        ("MTL.DATA.SAME_IMAGES", "merge"),
    ],
)
def test_another_config_has_records_of_its_own(run, tiny_root, readings, key, value):
    start(run, tiny_root)
    run.merge_from_list([key, value])
    start(run, tiny_root)
    assert len(readings) == 4
    assert len(kept(run)) == 2


def test_learning_rate_and_method_do_not_matter(run, tiny_root, readings):
    start(run, tiny_root)
    run.merge_from_list(["SOLVER.BASE_LR", 0.5, "MTL.GRADIENT.RESCALE", "mclgs", "DATALOADER.NUM_WORKERS", 1])
    start(run, tiny_root)
    assert len(readings) == 2


def test_warnings_of_the_first_start_are_said_at_each(run, tiny_root, caplog):
    box = {"category": "car", "box2d": {"x1": 9, "y1": 9, "x2": 4, "y2": 4}}
    outside = {"category": "car", "box2d": {"x1": 9, "y1": 9, "x2": WIDTH + 9, "y2": HEIGHT}}
    path = tiny_root / LABELS
    path.write_text(path.read_text().replace('"labels": [', f'"labels": [{box}, {outside}, '.replace("'", '"')))
    run.DATASETS.TEST = ("bdd100k_det_train", "bdd100k_sem_seg_val")
    said = []
    for _ in range(2):
        caplog.clear()
        prepared.warn_once.__globals__["log_first_n"].__globals__["_LOG_COUNTER"].clear()  # as in another process
        with caplog.at_level(logging.INFO):
            start(run, tiny_root)
        said.append([(r.name, r.levelname, r.getMessage()) for r in caplog.records if "looking" not in r.getMessage()])
    assert said[0] == said[1]
    text = "\n".join(line for _, _, line in said[0])
    for part in ("dropped 5 boxes", "boxes reach outside their image", "of its images are trained on as well"):
        assert part in text


def test_records_and_digests_are_those_that_were_checked(run, tiny_root, monkeypatch):
    start(run, tiny_root)
    before = digests(run.DATASETS.TRAIN)
    monkeypatch.setattr(reading, "_FIRST", {})
    start(run, tiny_root)
    assert digests(run.DATASETS.TRAIN) == before
    write_frames_of(tiny_root / "bdd100k", "train", range(2))
    with pytest.raises(DataError, match=r"^bdd100k_det_train: .*they were others when they were checked"):
        read_records("bdd100k_det_train")


def test_metadata_that_a_reader_sets_are_set(run, tiny_root, own_sets):
    def read():
        MetadataCatalog.get("own_train").set(thing_classes=MetadataCatalog.get("bdd100k_det_train").thing_classes)
        return DatasetCatalog.get("bdd100k_det_train")

    own_sets("own_train", read, evaluator_type="coco", label_files=[tiny_root / LABELS])
    run.DATASETS.TRAIN = ("own_train", "bdd100k_sem_seg_train")
    start(run, tiny_root)
    MetadataCatalog.remove("own_train")
    MetadataCatalog.get("own_train").set(evaluator_type="coco", label_files=[tiny_root / LABELS])
    check_data(run)
    assert len(MetadataCatalog.get("own_train").thing_classes) == 10


def test_a_data_set_that_does_not_name_its_files_is_known_by_its_records(run, tiny_root, own_sets):
    records = DatasetCatalog.get("bdd100k_det_train")
    metadata = MetadataCatalog.get("bdd100k_det_train").as_dict()
    own = {key: value for key, value in metadata.items() if key not in ("name", "label_files")}
    own_sets("own_train", lambda: records, **own)
    run.DATASETS.TRAIN = ("own_train", "bdd100k_sem_seg_train")
    first = start(run, tiny_root)
    assert start(run, tiny_root) == first
    assert len(kept(run)) == 1
    records[0] = {**records[0], "annotations": [{**records[0]["annotations"][0], "bbox": [0.0, 0.0, 9.0, 9.0]}]}
    assert start(run, tiny_root) != first


def test_a_folder_that_cannot_be_written_to_is_no_mistake(run, tiny_root, caplog):
    Path(run.OUTPUT_DIR).write_text("a file")
    with caplog.at_level(logging.WARNING):
        start(run, tiny_root)
    assert "records are not kept for other processes and later starts" in caplog.text


def _start_and_count(cfg, root, queue):
    paths, read = [], bdd100k.read_frames
    bdd100k.read_frames = lambda path: paths.append(path.name) or read(path)
    torch.set_num_threads(1)
    queue.put((start(cfg, root), len(paths)))


def test_of_several_processes_one_reads_and_all_have_the_same(run, tiny_root):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_start_and_count, args=(run, tiny_root, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    given, counts = zip(*(queue.get(timeout=60) for _ in processes), strict=True)
    for process in processes:
        process.join()
    assert sorted(counts) == [0, 0, 2]
    assert given[0] == given[1] == given[2]
