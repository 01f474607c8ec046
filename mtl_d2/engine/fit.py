"""Whether the tensors of a file are those of a model: all of them, enough to evaluate it, or some to begin with.

Each gives what is wrong in a sentence, or nothing. ``incompatible`` is what fvcore's checkpointer says after loading:
``missing_keys``, ``unexpected_keys``, and ``incorrect_shapes`` as (name, shape in the file, shape in the model).
"""

from __future__ import annotations

from typing import Any

from torch import nn

NAMED = 3  # tensors that a message names


def all_fit(model: nn.Module, incompatible: Any) -> str:
    """To go on with a training: the same tensors in both."""
    shapes = [name for name, *_ in incompatible.incorrect_shapes]
    differing = sorted({*incompatible.missing_keys, *incompatible.unexpected_keys, *shapes})
    if not differing:
        return ""
    return (
        f"--resume goes on with the same model, but {len(differing)} tensors are missing, left over or of another "
        f"shape, {differing[0]} among them: restore the config, or begin anew without --resume"
    )


def enough_fits(model: nn.Module, incompatible: Any) -> str:
    """To evaluate: every parameter, and every buffer but single numbers, which are counts and averages of training."""
    shapes = {name: f"{name} {tuple(there)} for {tuple(here)}" for name, there, here in incompatible.incorrect_shapes}
    numbers = {name for name, buffer in model.named_buffers() if buffer.dim() == 0}
    lacking = [shapes.get(name, name) for name in sorted({*incompatible.missing_keys, *shapes} - numbers)]
    if not lacking:
        return ""
    return (
        f"the weights are not those of the whole model: {len(lacking)} of its {len(model.state_dict())} tensors are "
        f"missing in the file or of another shape, among them {', '.join(lacking[:NAMED])}. Name the weights of this "
        "very model, or restore the config that they were trained with"
    )


def some_fits(model: nn.Module, incompatible: Any) -> str:
    """To begin a training: at least one parameter. What is skipped is a warning, as for new predictors."""
    skipped = {*incompatible.missing_keys, *(name for name, *_ in incompatible.incorrect_shapes)}
    if any(name not in skipped for name, _ in model.named_parameters()):
        return ""
    there = sorted(incompatible.unexpected_keys)
    example = f"; it holds {', '.join(there[:NAMED])}" if there else ""
    return (
        f"no tensor of MODEL.WEIGHTS is one of the model's {len(model.state_dict())}, such as "
        f"{next(iter(model.state_dict()))}{example}: give the weights of this architecture, or ''"
    )
