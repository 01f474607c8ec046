"""A training that is to end after K updates ends there with a checkpoint, and goes on as if it never had."""

import json
from pathlib import Path

import pytest
import torch
from bars import bars_cfg
from running import rows

from mtl_d2.config import ConfigError
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.held_out import FILE, add_held_out, read_held_out

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def cfg(tmp_path):
    cfg = bars_cfg(tmp_path / "run")
    cfg.MTL.DATA.VALIDATION_SHARE = 0.3
    return cfg


def trained(cfg, after=None):
    torch.manual_seed(3)
    trainer = MultiTaskTrainer(cfg)
    trainer.resume_or_load()
    if after is not None:
        trainer.stop_after(after)
    trainer.train()
    return trainer


def same(first, second):
    return all(torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items())


def test_a_run_stopped_twice_is_the_run_that_never_stopped(cfg, tmp_path):
    whole = trained(cfg)
    logged = rows(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    Path(cfg.OUTPUT_DIR).mkdir()
    for stop in (3, 7):
        trained(cfg, stop)
        assert [row["iteration"] for row in rows(cfg)] == list(range(stop))
        assert sorted(read_held_out(cfg.OUTPUT_DIR))[-1] == stop
    assert same(trained(cfg), whole)
    assert [row["lr"] for row in rows(cfg)] == [row["lr"] for row in logged]  # the schedule is that of all updates


def test_a_run_that_has_come_so_far_is_only_evaluated(cfg):
    stopped = trained(cfg, 5)
    seen = read_held_out(cfg.OUTPUT_DIR)
    assert set(seen) == {5}
    Path(cfg.OUTPUT_DIR, FILE).unlink()  # as where the process was killed before it wrote
    assert same(trained(cfg, 5), stopped)
    assert read_held_out(cfg.OUTPUT_DIR) == seen


def test_the_end_is_evaluated_on_the_held_out_images_and_with_the_model_that_was_chosen(cfg):
    trained(cfg, 12)
    assert set(read_held_out(cfg.OUTPUT_DIR)) == {12}
    assert Path(cfg.OUTPUT_DIR, "model_final.pth").exists()
    cfg.OUTPUT_DIR += "_chosen"
    Path(cfg.OUTPUT_DIR).mkdir()
    cfg.MTL.SELECT_BY, cfg.TEST.EVAL_PERIOD = "accuracy/harmonic_mean", 1
    trained(cfg, 12)
    values = [row["validation/accuracy/harmonic_mean"] for row in rows(cfg)]
    assert read_held_out(cfg.OUTPUT_DIR)[12]["accuracy"]["harmonic_mean"] == pytest.approx(max(values))
    assert max(values) > values[-1]  # or this could not fail


@pytest.mark.parametrize("updates", [0, 13])
def test_as_many_updates_as_there_are_not_are_refused(cfg, updates):
    with pytest.raises(ConfigError, match=rf"--stop-after must be in \[1, SOLVER.MAX_ITER 12\], got {updates}"):
        trained(cfg, updates)


def test_fewer_updates_than_are_made_are_refused(cfg):
    trained(cfg, 5)
    with pytest.raises(CheckpointError, match=r"--stop-after is 4, but the run in .* has made 5 updates"):
        trained(cfg, 4)


def test_evaluations_are_kept_side_by_side_and_a_number_that_is_none_comes_back_as_nan(tmp_path):
    add_held_out(tmp_path, 9, {"bbox": {"AP": 1.5}})
    add_held_out(tmp_path, 3, {"bbox": {"AP": float("nan")}})
    assert json.loads((tmp_path / FILE).read_text()) == {"3": {"bbox": {"AP": None}}, "9": {"bbox": {"AP": 1.5}}}
    assert read_held_out(tmp_path)[9] == {"bbox": {"AP": 1.5}}
    assert read_held_out(tmp_path)[3]["bbox"]["AP"] != read_held_out(tmp_path)[3]["bbox"]["AP"]
    (tmp_path / FILE).write_text("{")
    assert read_held_out(tmp_path) == {}
