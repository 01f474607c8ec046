"""What moves the parameters: detectron2's SGD, or an optimizer of torch's or timm's with the same parameter groups."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from detectron2.solver import build_optimizer as build_detectron2_optimizer
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

from mtl_d2.calls import Call, CallError, parse_call, takes, wrong_arguments
from mtl_d2.options import declare, number

declare(
    "SOLVER",
    {
        "BACKBONE_LR_FACTOR": number(
            1.0,
            "learning rate of the trunk, which is what stands below the pyramid, as a multiple of BASE_LR's; below 1 "
            "for one that is pretrained",
            above=0,
        )
    },
)

Kind = Callable[..., torch.optim.Optimizer]
SGD = Call("sgd")  # detectron2's
# Keys of SOLVER that an optimizer follows whose signature has the argument.
FOLLOWED = {"MOMENTUM": "momentum", "NESTEROV": "nesterov", "WEIGHT_DECAY": "weight_decay"}


def build_optimizer(cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of ``MTL.OPTIMIZER`` in detectron2's parameter groups, those of the trunk apart at their own rate.

    Raises:
        CallError: there is no such optimizer, or it does not take its arguments.
    """
    call = parse_call(cfg.MTL.OPTIMIZER)
    if call == SGD:
        optimizer = build_detectron2_optimizer(cfg, model)
    else:
        kind, arguments = optimizer_kind(call), optimizer_arguments(call, cfg)
        groups = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer = maybe_add_gradient_clipping(cfg, kind(groups, lr=cfg.SOLVER.BASE_LR, **arguments))
    if cfg.SOLVER.BACKBONE_LR_FACTOR != 1:
        set_apart(optimizer, trunk_parameters(model), cfg.SOLVER.BACKBONE_LR_FACTOR)
    return optimizer


def trunk_parameters(model: Any) -> list[nn.Parameter]:
    """Those of what stands below the pyramid; without a pyramid, of the whole ``backbone``."""
    backbone = getattr(model, "backbone", None)
    trunk = getattr(backbone, "bottom_up", backbone)
    return [] if trunk is None else list(trunk.parameters())


def set_apart(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], factor: float) -> None:
    """Puts ``parameters`` into groups of their own, which have their learning rate times ``factor``."""
    chosen = set(parameters)
    for group in list(optimizer.param_groups):
        apart = [p for p in group["params"] if p in chosen]
        rest = [p for p in group["params"] if p not in chosen]
        if not rest:
            group["lr"] *= factor
        elif apart:
            group["params"] = rest
            optimizer.add_param_group({**group, "params": apart, "lr": group["lr"] * factor})


def optimizer_kind(call: Call) -> Kind:
    """The class of an optimizer, torch's before timm's; whether its name is in capitals does not matter.

    Raises:
        CallError: there is none of that name, with the nearest; or timm needs more for it than there is here.
    """
    import timm.optim  # with all of timm; not for detectron2's SGD

    torchs = {name.lower(): kind for name, kind in vars(torch.optim).items() if _is_optimizer(kind)}
    timms = timm.optim.list_optimizers()
    name = call.name.lower()
    if name in torchs:
        return torchs[name]
    if name not in timms:
        near = difflib.get_close_matches(name, sorted({*torchs, *map(str, timms)}), n=3)
        guess = f"; near are {', '.join(near)}" if near else ""
        raise CallError(f"{call.name} is no optimizer of detectron2's ('sgd'), torch's or timm's{guess}")
    try:
        return timm.optim.get_optimizer_class(name)
    except (AssertionError, ImportError) as error:
        raise CallError(f"timm's {name} cannot be had on this machine: {error}") from error


def _is_optimizer(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer


def optimizer_arguments(call: Call, cfg: Any) -> dict[str, Any]:
    """Its arguments by name: those of ``SOLVER`` that its signature has, and those that the config gives it."""
    kind = optimizer_kind(call)
    followed = {name: cfg.SOLVER[key] for key, name in FOLLOWED.items() if takes(kind, name)}
    return followed | call.kwargs


def optimizer_mistakes(cfg: Any) -> list[str]:
    """Why there is no such optimizer, or why it cannot make a step, if so; in one line."""
    name = cfg.MTL.OPTIMIZER
    try:
        call = parse_call(name)
        if call.name == SGD.name and call != SGD:
            raise CallError("'sgd' is detectron2's, which follows SOLVER.MOMENTUM and SOLVER.NESTEROV: no arguments")
        if call == SGD:
            return []
        if call.kwargs.keys() & {"lr", "params"}:
            raise CallError("its parameters are the model's and its learning rate is SOLVER.BASE_LR: leave both out")
        kind, arguments = optimizer_kind(call), optimizer_arguments(call, cfg)
        wrong = wrong_arguments(kind, [], lr=cfg.SOLVER.BASE_LR, **arguments)
        if call.args or wrong:
            raise CallError(wrong or "write its arguments with their names")
    except CallError as error:
        return [f"MTL.OPTIMIZER is {name!r}: {error}"]
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((2, 2, 3, 3), (3, 2), (2,), ())]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        with torch.random.fork_rng(devices=[]):
            kind(parameters, lr=1e-3, **arguments).step()
    except Exception as error:  # noqa: BLE001  # whatever an optimizer raises: of its arguments, of packages it needs
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        return [
            f"MTL.OPTIMIZER {name!r} fails in a step of convolutions and norms ({said}): correct its arguments, "
            "or take another"
        ]
    return []


def keys_without_argument(optimizer: str) -> list[str]:
    """The keys of ``SOLVER`` that an optimizer does not follow: it has no such argument, or is given another value.

    Args:
        optimizer: as ``MTL.OPTIMIZER`` has it; of what cannot be had, none is known.
    """
    try:
        call = parse_call(optimizer)
        if call == SGD:
            return []
        kind = optimizer_kind(call)
    except CallError:
        return []
    return [key for key, name in FOLLOWED.items() if not takes(kind, name) or name in call.kwargs]


def not_followed(cfg: Any) -> list[str]:
    """The keys of ``SOLVER`` that the optimizer of ``MTL.OPTIMIZER`` has no argument for, if there is such a one."""
    if optimizer_mistakes(cfg):
        return []
    return [f"SOLVER.{key}" for key in keys_without_argument(cfg.MTL.OPTIMIZER)]
