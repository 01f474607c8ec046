"""Models and trunks that are built to be checked: the methods of a comparison share theirs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

NOT_OF_A_MODEL = ("SOLVER", "SEED", "OUTPUT_DIR")
NOT_OF_A_TASK = ("ALLOCATION", "SCALARIZATION", "GRADIENT", "REGULARIZER", "STEP")  # of MTL: how tasks are balanced
_built: set[tuple[Hashable, ...]] = set()


def build_once(build: Callable[..., object], cfg: Any, *args: Hashable) -> None:
    """Builds something without memory for its parameters and without a random draw, unless it has been built already.

    Args:
        build: is called with the two others, and raises what is wrong with them. Of the config it may look at anything
            but the keys of ``NOT_OF_A_MODEL`` and ``NOT_OF_A_TASK``.
        cfg: of the run.
        args: further arguments.
    """
    tasks = {key: value for key, value in cfg.MTL.items() if key not in NOT_OF_A_TASK}
    model = {key: value for key, value in cfg.items() if key not in NOT_OF_A_MODEL} | {"MTL": tasks}
    what = (build, *args, repr(model))
    if what in _built:
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        build(cfg, *args)
    _built.add(what)
