"""Optimizer, precision and what makes an update faster or smaller."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from mtl_d2.balancing import REGULARIZERS
from mtl_d2.config import AMP_DTYPES, method_options
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.config_scaling import scaling_mistakes
from mtl_d2.optimizers import optimizer_mistakes
from mtl_d2.processes import number_of_processes
from mtl_d2.schedules import build_lr_scheduler


def check_solver(cfg: CfgNode) -> list[str]:
    """Counts, optimizer, precision, clipping."""
    mistakes = [
        f"{key} must be at least 1, got {value}"
        for key, value in [
            ("SOLVER.MAX_ITER", cfg.SOLVER.MAX_ITER),
            ("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH),
            ("SOLVER.CHECKPOINT_PERIOD", cfg.SOLVER.CHECKPOINT_PERIOD),
            ("MTL.LOG_PERIOD", cfg.MTL.LOG_PERIOD),
            ("MTL.ACCUMULATE", cfg.MTL.ACCUMULATE),
        ]
        if value < 1
    ]
    if cfg.DATALOADER.NUM_WORKERS < 0:
        mistakes.append(f"DATALOADER.NUM_WORKERS must be at least 0, got {cfg.DATALOADER.NUM_WORKERS}")
    mistakes += optimizer_mistakes(cfg)
    mistakes += [*_check_precision(cfg), *_check_shares(cfg), *_check_compile(cfg), *_check_schedule(cfg)]
    mistakes += scaling_mistakes(cfg, number_of_processes())
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    known = ("value", "norm", "full_model")
    if clipping.ENABLED and clipping.CLIP_TYPE not in known:
        mistakes.append(unknown("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clipping.CLIP_TYPE, known))
    if clipping.ENABLED and clipping.CLIP_VALUE <= 0:
        mistakes.append(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE must be > 0, got {clipping.CLIP_VALUE}")
    return mistakes


def _check_precision(cfg: CfgNode) -> list[str]:
    if cfg.MTL.AMP_DTYPE not in AMP_DTYPES:
        return [unknown("MTL.AMP_DTYPE", cfg.MTL.AMP_DTYPE, tuple(AMP_DTYPES))]
    cuda = cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()
    if cfg.SOLVER.AMP.ENABLED and cfg.MTL.AMP_DTYPE == "bfloat16" and cuda and not torch.cuda.is_bf16_supported():
        return [f"MTL.AMP_DTYPE 'bfloat16' is unknown to {torch.cuda.get_device_name()}; take 'float16'"]
    return []


def slow_precision(cfg: CfgNode) -> str:
    """A sentence if half precision will be slower than float32 by far, as on CPUs without instructions for it."""
    if not cfg.SOLVER.AMP.ENABLED or not cfg.MODEL.DEVICE.startswith("cpu"):
        return ""
    return (
        f"SOLVER.AMP.ENABLED with MTL.AMP_DTYPE {cfg.MTL.AMP_DTYPE!r} on a CPU: without instructions for it (AMX, "
        "AVX512-BF16) an update takes some 60 times as long as in float32; set SOLVER.AMP.ENABLED False"
    )


def _check_schedule(cfg: CfgNode) -> list[str]:
    """What detectron2 would say when it builds the schedule, after all data have been read."""
    if cfg.SOLVER.MAX_ITER < 1:
        return []
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.STEPS = tuple(step for step in cfg.SOLVER.STEPS if step <= cfg.SOLVER.MAX_ITER)  # it warns of others
    try:
        build_lr_scheduler(cfg, torch.optim.SGD([torch.zeros(())], lr=cfg.SOLVER.BASE_LR))
    except (ValueError, TypeError, AssertionError, ZeroDivisionError) as error:
        return [f"SOLVER.LR_SCHEDULER_NAME {cfg.SOLVER.LR_SCHEDULER_NAME!r}, STEPS, WARMUP_*, BASE_LR: {error}"]
    return []


def _check_shares(cfg: CfgNode) -> list[str]:
    processes, batch = number_of_processes(), cfg.SOLVER.IMS_PER_BATCH
    share, rest = divmod(batch, processes)
    if rest and batch > 0:
        return [
            f"SOLVER.IMS_PER_BATCH must be a positive multiple of the number of processes, {processes}; got {batch}: "
            f"take {max(1, round(batch / processes)) * processes}"
        ]
    if cfg.MTL.ACCUMULATE < 1 or share % cfg.MTL.ACCUMULATE == 0:
        return []
    return [
        f"MTL.ACCUMULATE must divide each process's share of SOLVER.IMS_PER_BATCH, {share} images, got "
        f"{cfg.MTL.ACCUMULATE}"
    ]


def _check_compile(cfg: CfgNode) -> list[str]:
    if cfg.MTL.COMPILE and cfg.MTL.RECOMPUTE:
        return ["MTL.COMPILE and MTL.RECOMPUTE do not go together: set one of them to False"]
    name = cfg.MTL.REGULARIZER.NAME
    if not cfg.MTL.COMPILE or name not in REGULARIZERS.names():
        return []
    method = REGULARIZERS.get(name)
    if not method.differentiates_twice(method_options(cfg.MTL.REGULARIZER, name, method)):  # type: ignore[attr-defined]
        return []
    return [f"MTL.COMPILE does not go with MTL.REGULARIZER.NAME {name!r}: a compiled trunk has no second derivatives"]
