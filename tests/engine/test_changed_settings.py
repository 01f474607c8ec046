"""A resumed run whose config has changed: it follows the new one from its first update on, or says what it cannot."""

import shutil
from pathlib import Path

import pytest
import torch
from bars import bars_cfg
from running import rows, train

from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.resume import changes, compare_configs, with_values

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after 4 of its 12 updates, at a rate of 0.05."""
    folder = tmp_path_factory.mktemp("stopped")
    train(bars_cfg(folder), until=4)
    Path(folder, "last_checkpoint").write_text("model_0000003.pth")
    return folder


@pytest.fixture
def cfg(stopped, tmp_path):
    """To resume a copy of it."""
    shutil.copytree(stopped, tmp_path / "output")
    return bars_cfg(tmp_path / "output")


def rates(cfg):
    return [row["lr"] for row in rows(cfg)][4:]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], [0.05] * 5 + [0.005] * 3),
        (["SOLVER.BASE_LR", 0.001], [0.001] * 5 + [0.0001] * 3),
        (["SOLVER.STEPS", (4,)], [0.005] * 8),
        (["SOLVER.STEPS", (2,), "SOLVER.GAMMA", 0.5], [0.025] * 8),
        (["SOLVER.WARMUP_ITERS", 6, "SOLVER.WARMUP_FACTOR", 0.4], [0.04, 0.045, *[0.05] * 3, *[0.005] * 3]),
        (["SOLVER.MAX_ITER", 6], [0.05] * 2),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.MAX_ITER", 8], [0.025, 0.0154329, 0.0073223, 0.001903]),
    ],
)
def test_changed_schedule_is_followed_from_the_first_update_on(cfg, changes, expected):
    cfg.merge_from_list(changes)
    train(cfg, resume=True)
    assert rates(cfg) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_groups_of_parameters_may_be_others_than_those_of_the_checkpoint(tmp_path, optimizer):
    cfg = bars_cfg(tmp_path)
    cfg.MTL.OPTIMIZER = optimizer
    cfg.MTL.SCALARIZATION.NAME = "uncertainty"  # has parameters of its own
    first = train(cfg, until=4)
    momenta = dict(first.optimizer.state)
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    cfg.SOLVER.BIAS_LR_FACTOR, cfg.SOLVER.WEIGHT_DECAY = 2.0, 0.01
    if optimizer == "sgd":
        cfg.SOLVER.MOMENTUM = 0.5
    resumed = MultiTaskTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert len(resumed.optimizer.param_groups) == len(first.optimizer.param_groups) + 1
    assert {group["lr"] for group in resumed.optimizer.param_groups} == {0.05, 0.1}
    assert {group["weight_decay"] for group in resumed.optimizer.param_groups} == {0.01, 0.0}
    if optimizer == "sgd":
        assert all(group["momentum"] == 0.5 for group in resumed.optimizer.param_groups)
    pairs = zip(parameters(first), parameters(resumed), strict=True)
    for before, now in pairs:
        assert torch.equal(before, now)
        for name, value in momenta[before].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed.optimizer.state[now][name])), name


def parameters(trainer):
    return [*trainer.model.parameters(), *trainer._trainer.balancer.parameters()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["MTL.OPTIMIZER", "adam"], r"MTL\.OPTIMIZER: 'sgd' in the checkpoint, now 'adam'"),
        (["SEED", 8], "SEED: 7 in the checkpoint, now 8"),
        (["MODEL.WEIGHTS", "other.pth"], r"MODEL\.WEIGHTS: '' in the checkpoint, now 'other\.pth'"),
        (["MTL.SCALARIZATION.FIXED.WEIGHTS", (1.0, 2.0)], r"FIXED\.WEIGHTS: \[\] in the checkpoint, now \[1.0, 2.0\]"),
        (["SOLVER.MAX_ITER", 4], r"has made 4 updates of SOLVER\.MAX_ITER 4: no changed setting can take effect"),
        (["DATASETS.TRAIN", ("smallest_bars", "smallest_bars")], r"DATASETS\.TRAIN: "),
    ],
)
def test_setting_that_cannot_take_effect_is_refused_by_name(cfg, changes, message):
    cfg.merge_from_list(changes)
    with pytest.raises(CheckpointError, match=message):
        train(cfg, resume=True)


def test_options_that_leave_no_trace_in_the_state_take_effect(cfg):
    cfg.MTL.SCALARIZATION.UNCERTAINTY.INITIAL = 3.0  # of a method that the run does not use
    cfg.MTL.GRADIENT.EXACT_EVERY = 1
    train(cfg, resume=True)
    assert "cosine/class_left_class_right" in rows(cfg)[4]


def test_finished_run_with_its_own_config_is_looked_at_once_more_and_with_another_refused(tmp_path):
    cfg = bars_cfg(tmp_path)
    train(cfg)
    assert train(cfg, resume=True).start_iter == 12
    cfg.SOLVER.BASE_LR = 0.01
    with pytest.raises(CheckpointError, match="no changed setting can take effect"):
        train(cfg, resume=True)
    cfg.SOLVER.MAX_ITER = 13
    assert train(cfg, resume=True).start_iter == 12


def test_key_of_the_beginning_that_an_earlier_version_did_not_know_keeps_no_run_from_going_on(cfg):
    cfg.SOLVER.MAX_ITER = 12
    earlier = cfg.clone()
    del earlier.MODEL.FCOS["BOX_BIAS"]
    compare_configs(earlier.dump(), cfg, 4)
    earlier.MODEL.FCOS.BOX_BIAS = 0.5
    with pytest.raises(CheckpointError, match=r"FCOS\.BOX_BIAS: 0\.5 in the checkpoint"):
        compare_configs(earlier.dump(), cfg, 4)


def test_other_number_of_processes_is_told_as_such_and_not_as_the_settings_that_follow_it(cfg, monkeypatch):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 1
    trainer = MultiTaskTrainer(cfg)
    trainer.cfg.SOLVER.IMS_PER_BATCH *= 2  # as for two processes
    monkeypatch.setattr("mtl_d2.engine.trainer.comm.get_world_size", lambda: 2)
    with pytest.raises(CheckpointError, match="was written by 1 processes, 2 go on, and with"):
        trainer.load_state_dict(state_of(cfg))


def state_of(cfg):
    return torch.load(Path(cfg.OUTPUT_DIR, "model_0000003.pth"), weights_only=False)["trainer"]


def test_keys_that_the_version_of_the_checkpoint_did_not_have_are_no_change_but_for_what_they_change(cfg):
    lacking = ("BOX_BIAS", "VALIDATION_SHARE", "SELECT_BY", "CROWD_REGIONS")
    stored = "\n".join(line for line in cfg.dump().splitlines() if not line.strip().startswith(lacking))
    assert list(changes(stored, cfg)) == ["MTL.DATA.CROWD_REGIONS"]
    cfg.MTL.DATA.CROWD_REGIONS = "background"
    cfg.MODEL.FCOS.BOX_BIAS = 0.0  # the parameters are in the checkpoint
    assert not changes(stored, cfg)
    cfg.MTL.DATA.VALIDATION_SHARE = 0.1
    assert list(changes(stored, cfg)) == ["MTL.DATA.VALIDATION_SHARE"]


def test_key_that_the_version_of_the_checkpoint_called_otherwise_is_no_change(cfg):
    cfg.MTL.DATA.PER_DATASET = (16,)
    stored = cfg.dump().replace("PER_DATASET", "PER_TASK")
    assert not changes(stored, cfg)
    compare_configs(stored, cfg, 12)  # of a run that has ended: any change is refused
    cfg.MTL.DATA.PER_DATASET = (8,)
    assert list(changes(stored, cfg).values()) == ["MTL.DATA.PER_DATASET: [16] in the checkpoint, now [8]"]
    assert with_values(cfg, stored, ["MTL.DATA.PER_DATASET"]).MTL.DATA.PER_DATASET == (16,)
