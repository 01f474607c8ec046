"""What updates are made of is what a training's loader and allocation give."""

from itertools import combinations_with_replacement, islice

import pytest
from detectron2.config import get_cfg

from mtl_d2.config import add_mtl_config
from mtl_d2.data.sampler import ShuffledStream, Union
from mtl_d2.engine.build import build_allocation
from mtl_d2.inspection.draws import draw_updates, tasks_of
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import NOT_DRAWN

from .conftest import TRAIN

TASKS = ("detection", "semantic", "depth")
BOXES = {"file_name": "a", "annotations": []}
MAPS = {"file_name": "b", "sem_seg_file_name": "b.png", "depth_file_name": "b.npy"}


def cfg_of(*words):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS, cfg.SOLVER.MAX_ITER, cfg.SEED = TASKS, 1000, 5
    cfg.merge_from_list(list(words))
    return cfg


def drawn(cfg, sets, updates=100):
    total = sum(map(len, sets))
    order = Union(ShuffledStream(total, 5), len(sets))
    return draw_updates(cfg, sets, order, build_allocation(cfg), kinds_of(cfg.MTL.TASKS), updates)


def test_two_sets_in_batches_of_one_never_have_their_tasks_together():
    draws = drawn(cfg_of("SOLVER.IMS_PER_BATCH", 1), [[BOXES] * 3, [MAPS]])
    assert draws.updates == 100
    assert dict(draws.drawn) == {0: 75, 1: 25}  # whole epochs of 4 records
    assert draws.share("detection", "detection") == 0.75
    assert draws.share("semantic", "depth") == draws.share("depth", "semantic") == 0.25
    assert draws.share("detection", "semantic") == 0


def test_ista_uses_each_label_once():
    both = {**BOXES, **MAPS}
    draws = drawn(cfg_of("SOLVER.IMS_PER_BATCH", 2, "MTL.ALLOCATION.NAME", "ista"), [[both] * 4], updates=60)
    assert sum(draws.drawn.values()) == 40  # 20 mini-batches, each of three updates
    assert dict(draws.samples) == dict.fromkeys(TASKS, 40)


def test_updates_of_ista_without_a_label_are_counted():
    draws = drawn(cfg_of("SOLVER.IMS_PER_BATCH", 2, "MTL.ALLOCATION.NAME", "ista"), [[BOXES] * 4], updates=60)
    assert draws.alone == 40


def test_a_training_that_is_shorter_is_not_drawn_beyond_its_end():
    assert drawn(cfg_of("SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 7), [[BOXES]]).updates == 7


def test_pseudo_labels_count_and_are_not_drawn_where_the_config_says_so():
    record = {**BOXES, "pseudo/sem_seg_file_name": "a.png"}
    kinds = kinds_of(TASKS)
    assert tasks_of(record, kinds) == {"tasks": ("detection", "semantic")}
    assert tasks_of(record, kinds, draw_all=False)[NOT_DRAWN] == ("semantic",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_samples_looked_at_are_those_of_the_training(streets):
    from mtl_d2.data import build_train_loader
    from mtl_d2.inspection.data_sets import read_data_sets
    from mtl_d2.inspection.observation import Observer

    cfg = streets.cfg("INPUT.MIN_SIZE_TRAIN", "(48, 64)")
    batches = list(islice(build_train_loader(cfg), 4))
    data = read_data_sets(cfg, 10)
    observer = Observer(cfg, next(one for one in data.sets if one.name == TRAIN))
    samples = [sample for batch in batches for sample in batch]
    for i, sample in enumerate(samples):
        mine = observer.sample(i)
        assert (mine["file_name"], mine["position"]) == (sample["file_name"], i)
        assert mine["image"].equal(sample["image"])
        assert mine["sem_seg"].equal(sample["sem_seg"])
    together = {pair for batch in batches for pair in combinations_with_replacement(batch[0]["tasks"], 2)}
    assert set(data.draws.together) == together
