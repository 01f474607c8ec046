"""Models and trunks that are built to be checked: the methods of a comparison share theirs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

_built: set[tuple[Hashable, ...]] = set()


def build_once(build: Callable[..., object], cfg: Any, *args: Hashable) -> None:
    """Builds something without memory for its parameters and without a random draw, unless it has been built already.

    Args:
        build: is called with the two others, and raises what is wrong with them. Of the config it looks at ``MODEL``,
            ``DATASETS``, the tasks and their pseudo labels.
        cfg: of the run.
        args: further arguments.
    """
    shared = (cfg.MODEL, cfg.DATASETS, cfg.MTL.TASKS, cfg.MTL.PSEUDO_LABELS)
    key = (build, *args, *map(repr, shared))
    if key in _built:
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        build(cfg, *args)
    _built.add(key)
