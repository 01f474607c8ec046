"""The weights of a trunk alone, whose tensors another library has named: they are matched by their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

COUNTS = "num_batches_tracked"  # of batch norms: not every norm and not every file has them


def as_named_in(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """``weights``, with the names of ``model`` where they are its trunk's under other names.

    Nothing is renamed where a tensor of the file has the name of one of the model's. Otherwise the trunk's tensors are
    those of the file in their order, if each has the shape and the kind (``weight``, ``running_mean``, ...) of its
    place. What the file has beyond them, such as a classifier, is not used.

    Args:
        model: has a ``backbone``, and in it a trunk ``bottom_up`` if it is a pyramid.
        weights: of a file, by name.

    Returns:
        ``weights`` as they are, or those of the trunk by the model's names.
    """
    state = model.state_dict()
    name, trunk = _trunk(model)
    if trunk is None or state.keys() & weights.keys():
        return dict(weights)
    places = {f"{name}.{key}": value for key, value in trunk.state_dict().items() if not key.endswith(COUNTS)}
    given = {key: value for key, value in weights.items() if not key.endswith(COUNTS)}
    mismatch = _mismatch(places, given)
    logger = logging.getLogger(__name__)
    if mismatch:
        logger.warning("The weights have none of the model's names, and do not fit %s by order: %s", name, mismatch)
        return dict(weights)
    left = list(given)[len(places) :]
    logger.info(
        "All %d tensors of %s are loaded by their order, all shapes being equal; of the file's %d, %d are not used%s",
        len(places), name, len(given), len(left), f" ({left[0]} ... {left[-1]})" if left else "",
    )  # fmt: skip
    return dict(zip(places, given.values(), strict=False))


def _trunk(model: Any) -> tuple[str, nn.Module | None]:
    backbone = getattr(model, "backbone", None)
    bottom_up = getattr(backbone, "bottom_up", None)
    return ("backbone", backbone) if bottom_up is None else ("backbone.bottom_up", bottom_up)


def _mismatch(places: Mapping[str, Tensor], given: Mapping[str, Any]) -> str:
    """The first place whose tensor is of another shape or kind, in words; empty where there is none."""
    if len(given) < len(places):
        return f"the file has {len(given)} tensors, the trunk {len(places)}"
    for (place, wanted), (name, tensor) in zip(places.items(), given.items(), strict=False):
        kinds = place.rpartition(".")[2], name.rpartition(".")[2]
        if kinds[0] != kinds[1] or tuple(wanted.shape) != tuple(tensor.shape):
            return f"{name} {tuple(tensor.shape)} in the file stands where {place} {tuple(wanted.shape)} is needed"
    return ""
