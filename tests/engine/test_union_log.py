"""What a run says of its data sets and of pairs of tasks."""

import logging

import pytest
from running import rows, train

pytestmark = pytest.mark.filterwarnings("ignore")
PAIR = "detection+semantic"


@pytest.fixture
def union(cfg):
    cfg.DATASETS.TEST, cfg.SOLVER.CHECKPOINT_PERIOD = (), 2
    return cfg


def logged(cfg, *prefixes):
    return [{name: value for name, value in row.items() if name.startswith(prefixes)} for row in rows(cfg)]


def test_epochs_and_pairs_are_those_of_the_samples(union, caplog):
    caplog.set_level(logging.INFO, "mtl_d2")
    train(union)
    last = logged(union, "epochs/", "pairs")[-1]
    assert last == {
        "epochs/bdd100k_det_train": 12 / 6,
        "epochs/bdd100k_sem_seg_train": 12 / 5,
        f"pairs/{PAIR}": 1.0,
        f"pairs_of_samples/{PAIR}": 0.0,
    }
    assert "bdd100k_sem_seg_train: 2.4 epochs seen" in caplog.text
    assert f"{PAIR}: together in 100.0 % of updates, 0.0 % of samples" in caplog.text


def test_a_resumed_run_goes_on_counting(union):
    union.MTL.DATA.PER_DATASET, union.SOLVER.IMS_PER_BATCH = (), 1
    union.MTL.DATA.SAMPLING, union.MTL.DATA.WEIGHTS = "weights", (1.0, 1.0)
    train(union, until=4)
    train(union, resume=True)
    assert logged(union, "pairs/") == [{f"pairs/{PAIR}": 0.0}] * 6
    first, *_, last = logged(union, "epochs/")
    assert sum(first.values()) < sum(last.values())
    assert last["epochs/bdd100k_det_train"] * 6 + last["epochs/bdd100k_sem_seg_train"] * 5 == pytest.approx(6)
