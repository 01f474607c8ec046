"""Whether the last shared layer is one: that all tasks reach it, and that it moves."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn

from mtl_d2.balancing import Balancer

KEY = "MTL.LAST_SHARED_LAYER"
SHOWN = 4  # modules that a message proposes


def last_layer_mistakes(model: Any, balancer: Balancer, cfg: Any) -> list[str]:
    """One sentence for each thing that is wrong with the last shared layer, where the config has a use for one.

    Args:
        model: a ``MultiTaskMixin``, with frozen what is to be frozen.
        balancer: says what is looked at.
        cfg: the config that both were built by.
    """
    named = list(cfg.MTL.LAST_SHARED_LAYER)
    mistakes = [line for name in named for line in _wrong_name(model, name)]
    users = _users(balancer, cfg)
    if mistakes or not users:
        return mistakes
    reached = model.reached_parameters()
    parameters = _last_parameters(model, named)
    moving = {name for name, parameter in parameters.items() if parameter.requires_grad}
    missing = [task for task, names in reached.items() if not moving & set(names)]
    if not missing:
        return []
    weights = [name for name, parameter in parameters.items() if parameter.dim() > 1]
    where = ", ".join(named or dict.fromkeys(name.rpartition(".")[0] for name in weights))
    if not parameters:
        why = "but no pyramid level that two tasks look at has an output convolution (fpn_output...)"
    elif not moving:
        why = f"but {where} is frozen"
    else:
        why = f"but task {', '.join(missing)} does not reach {where}"
    return [f"{' and '.join(users)} must have a last shared layer that moves, {why}; {_advice(model, reached)}"]


def _users(balancer: Balancer, cfg: Any) -> list[str]:
    """The choices that look at the last shared layer."""
    mtl, users = cfg.MTL, []
    if balancer.level == "last_layer" and (balancer.gradient.scaling is not None or balancer.gradient.needs_rows(0)):
        users.append("MTL.GRADIENT.LEVEL 'last_layer'")
    if balancer.scalarization.weighting.needs_rows:
        users.append(f"MTL.SCALARIZATION.NAME {mtl.SCALARIZATION.NAME!r}")
    if balancer.regularizer is not None and balancer.regularizer.needs_last_layer:
        users.append(f"MTL.REGULARIZER.NAME {mtl.REGULARIZER.NAME!r}")
    return users


def _wrong_name(model: Any, name: str) -> list[str]:
    modules = dict(model.named_modules())
    if not name or name not in modules:
        near = difflib.get_close_matches(name, [known for known in modules if known], n=SHOWN)
        guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return [f"{KEY}: {type(model).__name__} has no module {name!r}{guess}"]
    ids = {id(p) for p in modules[name].parameters()}
    if not ids:
        return [f"{KEY}: module {name!r} has no parameters"]
    return [
        f"{KEY}: module {name!r} belongs to the head of task {task.name}; name modules that all tasks share"
        for task in model.tasks
        if any(id(p) in ids for head in task.head_modules for p in model.get_submodule(head).parameters())
    ]


def _last_parameters(model: Any, named: Sequence[str]) -> dict[str, nn.Parameter]:
    """The parameters of the last shared layer by name."""
    chosen = [p for name in named for p in model.get_submodule(name).parameters()] or model.last_shared_parameters()
    places = {id(p) for p in chosen}
    return {name: p for name, p in model.named_parameters() if id(p) in places}


def _advice(model: Any, reached: dict[str, list[str]]) -> str:
    """Modules that would do: convolutions and linear layers that all tasks reach and that move, the last ones first."""
    first, *rest = reached.values()
    shared = [name for name in first if all(name in names for names in rest)]
    weights = [name for name in shared if model.get_parameter(name).dim() > 1]
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in reversed(weights)))
    if not modules:
        return f"{KEY} cannot help: the tasks share no parameter that moves (MODEL.BACKBONE.FREEZE_AT?)"
    more = f" or one of {len(modules) - SHOWN} before them" if len(modules) > SHOWN else ""
    return f"name a module in {KEY} that all tasks reach: {', '.join(map(repr, modules[:SHOWN]))}{more}"
