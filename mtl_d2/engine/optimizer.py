"""The optimizer of a run: the weighting's own parameters, what a checkpoint says of it, learning rates, clipping."""

from __future__ import annotations

from typing import Any

import torch

from mtl_d2.balancing import Balancer


def add_weighting_parameters(optimizer: torch.optim.Optimizer, balancer: Balancer, cfg: Any) -> None:
    """Lets the optimizer train the weighting's own parameters: no weight decay, a learning rate of their own."""
    parameters = list(balancer.scalarization.parameters())
    if parameters:
        rate = cfg.SOLVER.BASE_LR * cfg.MTL.SCALARIZATION.LR_FACTOR
        optimizer.add_param_group({"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": 0.0})


def of_checkpoint(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], like: torch.optim.Optimizer
) -> dict[str, Any]:
    """A checkpoint's state for an optimizer that was built by a config: momenta are the checkpoint's, numbers its own.

    Args:
        optimizer: of this run, without a state yet.
        state: of the checkpoint's optimizer.
        like: an optimizer of the same parameters, in the groups that the checkpoint's had them in.

    Returns:
        what ``optimizer.load_state_dict`` takes.

    Raises:
        ValueError: the checkpoint's optimizer had other parameters.
    """
    like.load_state_dict(state)
    optimizer.state.update(like.state)
    before = {p: group for group in like.param_groups for p in group["params"]}
    for group in optimizer.param_groups:
        counted = before[group["params"][0]]  # some optimizers count their steps in the group
        group.update({key: value for key, value in counted.items() if key not in group})
    rest = {key: value for key, value in state.items() if key not in ("state", "param_groups")}
    return {**optimizer.state_dict(), **rest}


def set_rates(scheduler: Any, base_rates: list[float]) -> None:
    """Has the next update made at the rates of this run's schedule, from ``base_rates`` for each group on."""
    scheduler.base_lrs = base_rates
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_lr(), strict=True):
        group["lr"] = rate


def clips_globally(cfg: Any) -> bool:
    """Whether the norm of the whole combined gradient is to be clipped (detectron2's "norm" clips each parameter)."""
    return cfg.SOLVER.CLIP_GRADIENTS.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
