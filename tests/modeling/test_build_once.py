"""What is built to be checked is built again where anything but the method of balancing differs."""

import pytest
import torch
from small import small_cfg

from mtl_d2.modeling import build_once


@pytest.mark.parametrize(
    ("change", "builds"),
    [
        ([], 1),
        (["MTL.GRADIENT.AGGREGATOR", "mgda", "MTL.SCALARIZATION.NAME", "dwa", "SOLVER.BASE_LR", 0.5, "SEED", 3], 1),
        (["MODEL.FPN.OUT_CHANNELS", 48], 2),
        (["MTL.TASK_OPTIONS", [{"TASK": "semantic"}]], 2),
        (["MTL.DATA.CLASSES", ["car"]], 2),
        (["INPUT.FORMAT", "RGB"], 2),
    ],
)
def test_another_config_is_built_anew(monkeypatch, change, builds):
    monkeypatch.setattr(build_once, "_built", set())
    built = []
    cfg, other = small_cfg(), small_cfg()
    for key, value in zip(change[::2], change[1::2], strict=True):
        *nodes, last = key.split(".")
        node = other
        for name in nodes:
            node = node[name]
        dict.__setitem__(node, last, value)
    for one in (cfg, other, cfg):
        build_once.build_once(built.append, one)
    assert len(built) == builds


def test_mistake_is_raised_each_time_and_the_arguments_count(monkeypatch):
    monkeypatch.setattr(build_once, "_built", set())
    seen = []

    def build(cfg, channels):
        seen.append((channels, torch.empty(1).device.type))
        if channels == 1:
            raise ValueError("too few")

    cfg = small_cfg()
    build_once.build_once(build, cfg, 3)
    for _ in range(2):
        with pytest.raises(ValueError, match="too few"):
            build_once.build_once(build, cfg, 1)
    assert seen == [(3, "meta"), (1, "meta"), (1, "meta")]
