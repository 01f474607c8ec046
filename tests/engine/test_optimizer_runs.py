"""Runs with optimizers by name: a run that stopped goes on as one that did not."""

import pytest
import torch
from bars import bars_cfg
from running import rows, train

from mtl_d2.engine import MultiTaskTrainer


def optimizer_cfg(folder, name="sgd", factor=1.0):
    cfg = bars_cfg(folder)
    cfg.MTL.OPTIMIZER, cfg.SOLVER.BACKBONE_LR_FACTOR = name, factor
    cfg.MTL.SCALARIZATION.NAME = "uncertainty"  # has parameters of its own
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "full_model"
    cfg.SOLVER.WARMUP_ITERS = 3
    return cfg


@pytest.mark.parametrize("name", ["sgd", "adamw(betas=(0.8, 0.9))", "lamb", "rmsprop(alpha=0.9)"])
def test_a_run_that_stopped_equals_one_that_did_not(tmp_path, name):
    whole = train(optimizer_cfg(tmp_path / "whole", name, 0.5))
    cfg = optimizer_cfg(tmp_path / "parts", name, 0.5)
    train(cfg, until=4)
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000003.pth")
    parts = train(cfg, resume=True)
    assert parts.start_iter == 4
    for expected, found in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert [row["lr"] for row in rows(cfg)] == [row["lr"] for row in rows(whole.cfg)]


def test_factor_of_the_trunk_may_be_another_when_a_run_goes_on(tmp_path):
    cfg = optimizer_cfg(tmp_path, factor=0.5)
    cfg.SOLVER.WARMUP_ITERS = 0
    first = train(cfg, until=4)
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    cfg.SOLVER.BACKBONE_LR_FACTOR = 0.25
    resumed = MultiTaskTrainer(cfg)
    resumed.resume_or_load(resume=True)
    trunk = set(resumed.model.backbone.parameters())
    for group in resumed.optimizer.param_groups:
        for p in group["params"]:
            assert group["lr"] == pytest.approx(0.05 * (0.25 if p in trunk else 1))
    momenta = [first.optimizer.state[p]["momentum_buffer"] for p in first.model.parameters()]
    gone_on = [resumed.optimizer.state[p]["momentum_buffer"] for p in resumed.model.parameters()]
    assert all(map(torch.equal, momenta, gone_on))
