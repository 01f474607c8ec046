"""What moves the parameters: detectron2's SGD, or Adam with the same parameter groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.solver import build_optimizer
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

from mtl_d2.balancing import Balancer


def add_weighting_parameters(optimizer: torch.optim.Optimizer, balancer: Balancer, cfg: Any) -> None:
    """Lets the optimizer train the weighting's own parameters: no weight decay, a learning rate of their own."""
    own = list(balancer.scalarization.parameters())
    if own:
        rate = cfg.SOLVER.BASE_LR * cfg.MTL.SCALARIZATION.LR_FACTOR
        optimizer.add_param_group({"params": own, "lr": rate, "initial_lr": rate, "weight_decay": 0.0})


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
    return optimizer.state_dict()


def set_rates(scheduler: Any, base_rates: list[float]) -> None:
    """Has the next update made at the rates of this run's schedule, from ``base_rates`` for each group on."""
    scheduler.base_lrs = base_rates
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_lr(), strict=True):
        group["lr"] = rate


def build_adam(cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Adam with the parameter groups and the clipping of detectron2's optimizer."""
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    adam = maybe_add_gradient_clipping(cfg, torch.optim.Adam)
    return adam(groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)


def clips_globally(cfg: Any) -> bool:
    """Whether the norm of the whole combined gradient is to be clipped (detectron2's "norm" clips each parameter)."""
    return cfg.SOLVER.CLIP_GRADIENTS.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"


# By MTL.OPTIMIZER.
OPTIMIZERS: dict[str, Callable[[Any, torch.nn.Module], torch.optim.Optimizer]] = {
    "sgd": build_optimizer,
    "adam": build_adam,
}
