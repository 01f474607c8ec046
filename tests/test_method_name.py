"""A run is named by what it was."""

from __future__ import annotations

import pytest
import torch
import yaml
from detectron2.config import get_cfg

from mtl_d2.balancing import Setup
from mtl_d2.balancing.interfaces import Context
from mtl_d2.config import add_mtl_config
from mtl_d2.engine.build import build_balancer, method_name
from mtl_d2.method_name import describe_method

MEAN = ("MTL.GRADIENT.AGGREGATOR", "mean")
MCLGS = ("MTL.GRADIENT.RESCALE", "mclgs", *MEAN)
OFF = ("MTL.GRADIENT.MCLGS.A0", 0.0)
SUM = ("MTL.GRADIENT.SCALE", "sum")


def config(*overrides):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.merge_from_list(list(overrides))
    return cfg


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "sum"),
        (MEAN, "mean"),
        (MCLGS, "mclgs + mean"),
        ((*MCLGS, "MTL.GRADIENT.MCLGS.A0", 5.0), "mclgs (a0 5.0) + mean"),
        ((*MCLGS, *OFF), "mean, set as mclgs (a0 0.0) + mean"),
        ((*MCLGS, *OFF, *SUM), "sum, set as mclgs (a0 0.0) + mean (scale sum)"),
        ((*MEAN, *SUM), "sum, set as mean (scale sum)"),
        (("MTL.SCALARIZATION.FIXED.WEIGHTS", (1.0, 3.0)), "fixed (weights [1.0, 3.0]) + sum"),
        (("MTL.SCALARIZATION.FIXED.WEIGHTS", (1.0, 1.0)), "sum, set as fixed (weights [1.0, 1.0]) + sum"),
        (("MTL.SCALARIZATION.MEAN", "geometric"), "fixed (mean geometric) + sum"),
        (("MTL.STEP.NAME", "lookahead", "MTL.STEP.LOOKAHEAD.INNER_LR", 0.001), "sum + lookahead (inner_lr 0.001)"),
        (("MTL.ALLOCATION.NAME", "ista", "MTL.GRADIENT.AGGREGATOR", "cagrad", *SUM), "ista + cagrad (scale sum)"),
        (
            ("MTL.REGULARIZER.NAME", "cosreg", "MTL.REGULARIZER.COSREG.ALPHA", 0.0),
            "sum, set as sum + cosreg (alpha 0.0)",
        ),
    ],
)
def test_options_that_make_another_method_are_said(overrides, name):
    cfg = config(*overrides)
    assert method_name(cfg) == name
    assert describe_method(yaml.safe_load(cfg.dump())["MTL"]) == name


def test_what_is_called_the_sum_is_the_sum():
    balancer = build_balancer(config(*MCLGS, *OFF, *SUM))
    gramian = torch.tensor([[4.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    setup = Setup(("detection", "semantic"), 10)
    present = torch.ones(setup.num_tasks, dtype=torch.bool)
    context = Context(0, torch.ones(2, dtype=torch.float64), present, torch.Generator())
    weights = balancer.gradient(gramian, context)
    assert weights.shared.tolist() == weights.heads.tolist() == [1.0, 1.0]


def test_a_method_that_is_not_registered_here_and_a_config_without_methods_have_a_name():
    assert describe_method({"GRADIENT": {"AGGREGATOR": "my_own"}, "STEP": None}) == "my_own"
    assert describe_method({}) == ""
