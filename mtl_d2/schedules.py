"""Learning rate schedules: detectron2's, and the polynomial one that dense networks are trained by."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as detectron2_schedule
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler

from mtl_d2.options import declare, number

POLYNOMIAL = "WarmupPolyLR"

declare(
    "SOLVER",
    {
        "POLY_LR_POWER": number(
            0.9, "Of SOLVER.LR_SCHEDULER_NAME 'WarmupPolyLR': BASE_LR (1 - t / MAX_ITER)^power at update t.", above=0
        )
    },
)


def build_lr_scheduler(cfg: Any, optimizer: torch.optim.Optimizer) -> Any:
    """The schedule of ``SOLVER.LR_SCHEDULER_NAME``; ``WarmupPolyLR`` is called as in detectron2's project DeepLab.

    Raises:
        ValueError: there is no such schedule, or the numbers make none.
    """
    options = cfg.SOLVER
    if options.LR_SCHEDULER_NAME != POLYNOMIAL:
        return detectron2_schedule(cfg, optimizer)
    schedule = WarmupParamScheduler(
        PolynomialDecayParamScheduler(1.0, options.POLY_LR_POWER),
        options.WARMUP_FACTOR,
        min(options.WARMUP_ITERS / options.MAX_ITER, 1.0),
        options.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=options.MAX_ITER)
