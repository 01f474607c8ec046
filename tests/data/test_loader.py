import traceback
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from torch._utils import ExceptionWrapper

from mtl_d2.data import DataError, build_test_loader, build_train_loader, check_data
from mtl_d2.data.loader import training_records

from .tiny_bdd100k import DETECTION, SEMANTIC, write_json


def first(n, cfg, **where):
    return list(islice(build_train_loader(cfg, **where), n))


def content(sample):
    """Everything of a sample that a model sees, comparable."""
    boxes = sample["instances"].gt_boxes.tensor.numpy().tobytes() if "instances" in sample else None
    sem_seg = sample["sem_seg"].numpy().tobytes() if "sem_seg" in sample else None
    return sample["position"], sample["file_name"], sample["image"].numpy().tobytes(), boxes, sem_seg


def contents(batches):
    return [[content(s) for s in batch] for batch in batches]


def test_an_epoch_of_the_union_is_every_image_once(cfg, tiny_root):
    cfg.SOLVER.IMS_PER_BATCH = DETECTION + SEMANTIC
    one, two = first(2, cfg)
    assert len({s["file_name"] for s in one}) == len({s["file_name"] for s in two}) == DETECTION + SEMANTIC


def test_samples_are_the_same_bytes_with_and_without_workers(cfg, tiny_root):
    alone = contents(first(4, cfg))
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(first(4, cfg)) == alone


def test_a_resumed_loader_gives_the_tail(cfg, tiny_root):
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(first(2, cfg, start=12)) == contents(first(5, cfg))[3:]


@pytest.mark.parametrize("shares", [(), (2, 2)])
def test_two_ranks_see_what_one_process_sees(cfg, tiny_root, shares):
    cfg.MTL.DATA.PER_DATASET = shares
    whole = contents(first(4, cfg))
    parts = [contents(first(4, cfg, rank=r, world_size=2)) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == whole


def test_a_batch_holds_the_configured_shares(cfg, tiny_root):
    cfg.MTL.DATA.PER_DATASET = (3, 1)
    for batch in first(5, cfg):
        assert Counter(s["tasks"] for s in batch) == {("detection",): 3, ("semantic",): 1}


def test_global_generators_are_left_as_they_were(cfg, tiny_root):
    numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state()
    first(2, cfg)
    list(build_test_loader(cfg, "bdd100k_det_val"))
    assert np.random.get_state()[1].tolist() == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_ranks_that_cannot_share_the_batch_are_an_error(cfg, tiny_root):
    with pytest.raises(ValueError, match=r"SOLVER.IMS_PER_BATCH must be a positive multiple .* 3; found 4: take 3"):
        build_train_loader(cfg, rank=0, world_size=3)


def test_images_without_objects_are_filtered_only_where_asked(cfg, tiny_root):
    assert len(training_records(cfg, "bdd100k_det_train")) == DETECTION
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_records(cfg, "bdd100k_det_train")) == DETECTION - 1
    assert len(training_records(cfg, "bdd100k_sem_seg_train")) == SEMANTIC


def test_a_set_may_have_records_of_either_task(cfg, tiny_root, own_sets):
    """detectron2's own reading of records takes it that all have what the first one has."""
    records = [*DatasetCatalog.get("bdd100k_det_train"), *DatasetCatalog.get("bdd100k_sem_seg_train")]
    own_sets("own_train", records, thing_classes=list("abcdefghij"), stuff_classes=list("abcdefghijklmnopqrs"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("own_train",), ()
    cfg.SOLVER.IMS_PER_BATCH = DETECTION + SEMANTIC
    check_data(cfg)
    (batch,) = first(1, cfg)
    assert Counter(s["tasks"] for s in batch) == {("detection",): DETECTION, ("semantic",): SEMANTIC}
    for i in (2, DETECTION + 2):
        records[i] = {**records[i], "width": 7}
    with pytest.raises(DataError, match="2 of 11 images looked at have another size than their record says"):
        check_data(cfg)


def test_filtering_everything_away_is_an_error(cfg, tiny_root):
    write_json(tiny_root / "bdd100k/labels/det_20/det_train.json", [{"name": "det-train-0.jpg"}])
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    with pytest.raises(DataError, match=r"set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False"):
        build_train_loader(cfg)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_stops_the_training_and_is_named(cfg, tiny_root, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    path = tiny_root / "bdd100k/images/100k/train/det-train-3.jpg"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=f"cannot read image {path}") as e:
        first(3, cfg)
    traceback.clear_frames(e.tb)  # ends the workers now: left to the garbage collector they take torch 5 seconds


def test_a_negative_seed_is_drawn_anew(cfg, tiny_root):
    cfg.SEED = -1
    assert contents(first(3, cfg)) != contents(first(3, cfg))


def test_the_test_loader_gives_every_image_once_and_in_order(cfg, tiny_root):
    samples = [s for batch in build_test_loader(cfg, "bdd100k_sem_seg_val") for s in batch]
    assert [s["image_id"] for s in samples] == [f"seg-val-{i}" for i in range(SEMANTIC)]
    assert all("sem_seg" not in s for s in samples)


def test_error_of_a_loaders_process_is_its_own_lines():
    lines = "a.jpg: cannot be read\nb.jpg: cannot be read"
    try:
        raise DataError(lines)
    except DataError:
        caught = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(DataError) as raised:
        caught.reraise()
    assert str(raised.value) == lines
