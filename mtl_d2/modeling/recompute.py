"""Activations of a trunk that backward passes compute again, in place of keeping them since the forward pass.

Paper: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016,
https://arxiv.org/abs/1604.06174; here by ``torch.utils.checkpoint``, block by block. With T tasks a block is computed
again in each of T backward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

from mtl_d2.modeling.norm import synchronizes

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # whose items are a network's blocks
CONVOLUTIONS = 2  # that a block has at least


@runtime_checkable
class NamesBlocks(Protocol):
    """A trunk, or a part of one, whose blocks are not the items of its containers."""

    def recomputed_blocks(self) -> Sequence[nn.Module]:
        """Modules that are called one after the other, none within another, each with maps alone."""


def recompute(trunk: nn.Module) -> None:
    """Makes the blocks of ``trunk`` keep what they are given, and nothing of what they compute of it.

    Parameters, buffers and their names stay, and so do losses and gradients, to the last bit where the operations of
    the device are deterministic: dropout draws the same again, and running statistics move once.

    Raises:
        ValueError: it has no blocks, or a batch norm with the statistics of all processes, which would have to meet in
            their backward passes.
    """
    if any(map(synchronizes, trunk.modules())):
        raise ValueError("the trunk has a synchronized batch norm, which is not computed twice: take another norm")
    blocks = list(blocks_of(trunk))
    if not blocks:
        raise ValueError(f"{type(trunk).__name__} has no blocks of {CONVOLUTIONS} convolutions or more")
    for block in blocks:
        vars(block)["forward"] = partial(_without_activations, block, block.forward)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """What a module names itself, else the outermost items of containers that have several convolutions."""
    if isinstance(module, NamesBlocks):
        yield from module.recomputed_blocks()
        return
    for child in module.children():
        if isinstance(module, CONTAINERS) and type(child) not in CONTAINERS and _convolutions(child) >= CONVOLUTIONS:
            yield child
        else:
            yield from blocks_of(child)


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())


def _without_activations(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    versions = [tensor._version for tensor in given]
    contexts = partial(_contexts, block)
    output = checkpoint(partial(_on_copies, forward), *args, use_reentrant=False, context_fn=contexts, **kwargs)
    if versions != [tensor._version for tensor in given]:
        raise ValueError(
            f"MTL.RECOMPUTE cannot be True: {type(block).__name__} changes what it is given in place, and would be "
            "computed again of something else; have its first operation make a new tensor, or set it to False"
        )
    return output


def _on_copies(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Some blocks put their results into the list that they are given, as HRNet's do: a repetition needs it as it was.

    Tensors are not copied.
    """
    args, kwargs = tree_map(lambda leaf: leaf, (args, kwargs))
    return forward(*args, **kwargs)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _Repetition(block)


class _Repetition:
    """For passes that are a repetition: what batch norms do to their running statistics is forgotten.

    It is entered once in each backward pass, which a context made by ``contextlib.contextmanager`` cannot be.
    """

    def __init__(self, block: nn.Module) -> None:
        self._norms = [layer for layer in block.modules() if isinstance(layer, _BatchNorm) and layer.training]
        self._statistics: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self._statistics = [dict(norm.named_buffers(recurse=False)) for norm in self._norms]
        self._set([{name: buffer.clone() for name, buffer in known.items()} for known in self._statistics])

    def __exit__(self, *exception: object) -> None:
        self._set(self._statistics)

    def _set(self, statistics: Sequence[dict[str, Tensor]]) -> None:
        for norm, buffers in zip(self._norms, statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
