"""Pseudo labels from the folder to the sample: what is attached, read, drawn, counted and refused."""

import json
import logging
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from mtl_d2.balancing import Setup
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_checks.methods import check_tasks
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.data.loader import training_records
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.data.pseudo_labelled import changed_folders, folder_digests
from mtl_d2.options import defaults
from mtl_d2.tasks.sources import NOT_DRAWN, labels_of
from mtl_d2.tasks.task import LabelSource

from .taught_folder import CONFIDENT, write_folder

BOTH = ("detection", "semantic")
DET, SEG = "bdd100k_det_train", "bdd100k_sem_seg_train"


@pytest.fixture
def taught(cfg, tiny_root):
    """The config, with teachers of both tasks for both training sets."""
    cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(write_folder(tiny_root / "labels", {DET: BOTH, SEG: BOTH}))]
    return cfg


def test_readers_read_both_sources_of_an_image_with_one_geometry(taught):
    record = training_records(taught, DET)[0]
    sample = MultiTaskMapper(taught)(record, 3)
    assert sample["tasks"] == BOTH
    assert sample["instances"].gt_classes.tolist() == [2]  # a car
    assert sample["pseudo/instances"].gt_classes.tolist() == [1]
    assert "sem_seg" not in sample
    height, width = sample["image"].shape[1:]
    assert sample["pseudo/sem_seg"].shape == (height, width)
    assert sample["pseudo/instances"].image_size == (height, width)
    ids, rows = sample["pseudo/sem_seg"], round(height * CONFIDENT / 48)
    assert set(ids[: rows - 2].unique().tolist()) == {1}
    assert set(ids[rows + 2 :].unique().tolist()) == {255}
    assert not any("file_name" in key for key in sample if key.startswith("pseudo/"))


def test_how_the_ground_truth_is_stored_says_nothing_of_a_teachers_map(taught):
    """The ground truth's table of ids, and its id of unlabelled pixels, are not those of the pseudo labels."""
    record = training_records(taught, SEG)[0]
    record = {**record, "sem_seg_table": bytes([7] * 256), "ignore_label": 1}
    sample = MultiTaskMapper(taught)(record, 0)
    assert 1 in sample["pseudo/sem_seg"]
    assert sample["pseudo/sem_seg"].ne(7).all()


def test_what_the_ground_truth_is_annotated_for_says_nothing_of_a_teachers_labels(taught):
    record = {**training_records(taught, DET)[0], "annotated_classes": bytes([2] + [0] * 9)}
    sample = MultiTaskMapper(taught)(record, 0)
    assert sample["annotated_classes"].tolist() == [True] + [False] * 9
    assert "pseudo/annotated_classes" not in sample
    assert "annotated_classes" not in labels_of(sample, LabelSource("pseudo/"))


def test_without_folders_samples_are_as_they_were(cfg, tiny_root):
    record = training_records(cfg, DET)[0]
    sample = MultiTaskMapper(cfg)(record, 0)
    assert set(sample) == {"file_name", "image_id", "height", "width", "image", "instances", "tasks", "position"}


def allocation(name, tasks=BOTH, **options):
    method = ALLOCATIONS.get(name)
    return method(Setup(tasks, 100), 4, 7, **{**defaults(method.options), **options})


@pytest.mark.parametrize("name", ["sta", "ista", "gap"])
@pytest.mark.parametrize("draw_all", [True, False])
def test_draws_are_among_the_tasks_that_a_sample_has(taught, name, draw_all):
    """Of a union with teachers every image has both tasks, whoever labelled it; a draw takes each as often."""
    taught.MTL.PSEUDO_LABELS.ALLOCATE = draw_all
    made = allocation(name)
    batches = islice(iter(build_train_loader(taught)), 120)
    drawn = [(s["file_name"], s["tasks"]) for batch in made(batches) for s in batch]
    counts = Counter(("det-" in file, tasks) for file, tasks in drawn)
    if draw_all:
        assert {tasks for _, tasks in counts} == {("detection",), ("semantic",)}
        for of_detection in (True, False):
            one, other = (counts[of_detection, (task,)] for task in BOTH)
            assert binomtest(one, one + other).pvalue > 1e-3
            assert one == other or name == "sta"  # the others use each label once
        return
    # The one true label of an image is drawn always; the teacher's supervises beside it, and in further uses alone.
    assert set(counts) == {(True, BOTH), (False, BOTH)} | (
        set() if name == "sta" else {(True, ("semantic",)), (False, ("detection",))}
    )


def test_tasks_that_are_not_drawn_are_named_in_the_sample_alone_where_there_are_any(taught):
    taught.MTL.PSEUDO_LABELS.ALLOCATE = False
    sample = MultiTaskMapper(taught)(training_records(taught, DET)[0], 0)
    assert sample[NOT_DRAWN] == ("semantic",)
    taught.MTL.PSEUDO_LABELS.ALLOCATE = True
    assert NOT_DRAWN not in MultiTaskMapper(taught)(training_records(taught, DET)[0], 0)


def test_a_draw_that_leaves_a_task_out_leaves_out_both_of_its_labels(taught):
    (drawn,) = allocation("sta").allocate([MultiTaskMapper(taught)(training_records(taught, DET)[0], 5)], 0)
    assert len(drawn["tasks"]) == 1


def test_images_without_objects_stay_where_a_teacher_sees_some(taught, tiny_root):
    taught.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    taught.MTL.TASKS = ("detection",)
    assert len(training_records(taught, DET)) == 6  # one has no object
    taught.MTL.PSEUDO_LABELS.FOLDERS = []
    assert len(training_records(taught, DET)) == 5


def test_images_of_each_source_are_counted_for_each_task(taught, caplog):
    with caplog.at_level(logging.INFO):
        training_records(taught, SEG)
    assert f"{SEG}, detection: 0 images have ground truth, 5 pseudo labels, 0 neither" in caplog.text
    assert f"{SEG}, semantic: 5 images have ground truth, 5 pseudo labels, 0 neither" in caplog.text


def test_a_set_without_any_label_may_be_trained_on_with_pseudo_labels(cfg, tiny_root, own_sets):
    records = [{k: v for k, v in r.items() if k != "annotations"} for r in training_records(cfg, DET)]
    classes = {"thing_classes": ["a"] * 10, "stuff_classes": ["b"] * 19}
    own_sets("unlabelled", records, **classes)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (SEG, DET, "unlabelled"), ()
    with pytest.raises(DataError, match=r"unlabelled has no label for any of MTL\.TASKS"):
        check_data(cfg)
    cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(write_folder(tiny_root / "labels", {"unlabelled": BOTH}))]
    check_data(cfg)


def refused(cfg):
    with pytest.raises(DataError) as error:
        check_data(cfg)
    (line,) = str(error.value).splitlines()
    return line


def test_a_folder_that_is_not_there_is_refused(taught):
    taught.MTL.PSEUDO_LABELS.FOLDERS = ["output/nowhere"]
    line = refused(taught)
    assert line.startswith("MTL.PSEUDO_LABELS.FOLDERS: output/nowhere is no folder of pseudo labels")


def test_unfinished_labels_and_those_of_other_classes_are_all_said(taught):
    path = Path(taught.MTL.PSEUDO_LABELS.FOLDERS[0], "manifest.json")
    content = json.loads(path.read_text())
    content["tasks"]["detection"]["classes"].reverse()
    content["tasks"]["semantic"]["datasets"][SEG] = None
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        check_data(taught)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert (
        sum("the teacher of task 'detection' has other `thing_classes` than the student on " in x for x in lines) == 2
    )
    assert sum(f"the labels of {SEG} for task 'semantic' are not finished" in line for line in lines) == 1


def test_images_that_nobody_has_labelled_are_counted(cfg, tiny_root, own_sets, caplog):
    records = [{k: v for k, v in r.items() if k != "annotations"} for r in training_records(cfg, DET)]
    own_sets("all", records, thing_classes=["a"] * 10)
    folder = write_folder(tiny_root / "labels", {"all": ("detection",)})
    content = json.loads((folder / "all/detection.json").read_text())
    images = content["images"][:2]
    annotations = [a for a in content["annotations"] if a["image_id"] < 2]
    (folder / "all/detection.json").write_text(json.dumps({**content, "images": images, "annotations": annotations}))
    cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(folder)]
    training_records(cfg, "all")
    line = f"all: 4 of 6 images have no label at all, the first is {records[2]['file_name']}: nothing is learnt from"
    assert line in caplog.text


def test_run_goes_on_without_a_folder_that_it_has_read(taught):
    before = folder_digests(taught)
    assert not changed_folders(taught, before)
    shutil.rmtree(taught.MTL.PSEUDO_LABELS.FOLDERS[0])
    assert folder_digests(taught) == [""]
    assert len(changed_folders(taught, before)) == 1
    assert not changed_folders(taught, [""])


def test_pseudo_labels_for_tasks_that_have_none_are_refused(cfg):
    cfg.MTL.TASKS, cfg.MTL.PSEUDO_LABELS.FOLDERS = ("class_left", "class_right"), ["output/labels"]
    (line,) = check_tasks(cfg)
    assert "there are no pseudo labels of tasks like ('class_left', 'class_right'), only of detection, " in line
    cfg.MTL.TASKS = ("detection", "depth")
    assert not check_tasks(cfg)


def test_two_folders_with_the_same_task_of_the_same_set_are_refused(taught, tiny_root):
    other = write_folder(tiny_root / "others", {SEG: ("semantic",)})
    taught.MTL.PSEUDO_LABELS.FOLDERS = [*taught.MTL.PSEUDO_LABELS.FOLDERS, str(other)]
    line = refused(taught)
    assert line.startswith(SEG)
    assert "both have pseudo labels for task 'semantic': name one of them" in line
    with pytest.raises(DataError, match="both have pseudo labels"):
        training_records(taught, SEG)


def test_two_folders_may_divide_the_tasks(cfg, tiny_root):
    folders = [write_folder(tiny_root / task, {DET: (task,)}) for task in BOTH]
    cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(folder) for folder in folders]
    check_data(cfg)
    record = training_records(cfg, DET)[0]
    assert {"pseudo/annotations", "pseudo/sem_seg_file_name"} <= set(record)


def test_labels_of_a_task_that_is_not_trained_are_said_and_left_aside(taught, caplog):
    taught.MTL.TASKS, taught.DATASETS.TRAIN, taught.DATASETS.TEST = ("detection",), (DET,), ()
    with caplog.at_level(logging.WARNING):
        check_data(taught)
    assert "has pseudo labels for task 'semantic', which is not in MTL.TASKS: they are left aside" in caplog.text
    assert "pseudo/sem_seg_file_name" not in training_records(taught, DET)[0]


def test_a_folder_for_other_sets_is_said(cfg, tiny_root, caplog):
    cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(write_folder(tiny_root / "labels", {"bdd100k_det_val": BOTH}))]
    with caplog.at_level(logging.WARNING):
        check_data(cfg)
    assert "has no pseudo labels for a data set of DATASETS.TRAIN, only for bdd100k_det_val" in caplog.text


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (1.0,), (0.8, float("inf")), ("a", 1.0)])
def test_weights_of_sources_are_two_numbers_not_both_0(taught, weights):
    taught.MTL.PSEUDO_LABELS.WEIGHTS = weights
    with pytest.raises(ConfigError, match=r"MTL.PSEUDO_LABELS.WEIGHTS must be two numbers >= 0, not both 0, got"):
        check_mtl_config(taught)


def test_samples_are_the_same_for_any_number_of_workers(taught):
    found = []
    for workers in (0, 2):
        taught.DATALOADER.NUM_WORKERS = workers
        batch = next(iter(build_train_loader(taught)))
        found.append([(s["position"], s["tasks"], s["image"], s["pseudo/sem_seg"]) for s in batch])
    for one, other in zip(*found, strict=True):
        assert one[:2] == other[:2]
        assert all(map(torch.equal, one[2:], other[2:]))
