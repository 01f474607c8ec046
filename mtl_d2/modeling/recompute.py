"""Activations that backward passes compute again, in place of keeping them since the forward pass.

Paper: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016,
https://arxiv.org/abs/1604.06174; here by ``torch.utils.checkpoint``: a trunk by blocks, or a few of them at a time, and
losses by images. With T tasks a block is computed again in each of T backward passes, a loss once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from math import ceil
from typing import Any, Protocol, runtime_checkable

import torch
from detectron2.modeling.backbone.fpn import FPN
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

from mtl_d2.modeling.norm import synchronizes

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # whose items are a network's blocks
CONVOLUTIONS = 2  # that a block has at least
STRETCH = 3  # blocks at most that are computed again together


@runtime_checkable
class NamesBlocks(Protocol):
    """A trunk, or a part of one, whose blocks are not the items of its containers."""

    def recomputed_blocks(self) -> Sequence[nn.Module]:
        """Modules that are called one after the other, none within another, each with maps alone."""


@runtime_checkable
class LosesByImage(Protocol):
    """A head whose loss is a sum over images."""

    def keep_no_losses(self) -> None:
        """From now on it calls ``image_by_image`` for what of its loss is as large as the images."""


def recompute(trunk: nn.Module) -> None:
    """Makes the blocks of ``trunk`` keep what they are given, and nothing of what they compute of it.

    Where all items of an ``nn.Sequential`` are blocks, those of a stretch are computed again together, and what the
    first is given is kept alone; so are the levels of detectron2's FPN. Parameters, buffers and their names stay, and
    so do losses and gradients, to the last bit where the operations of the device are deterministic: dropout draws the
    same again, and running statistics move once.

    Raises:
        ValueError: it has no blocks, or a batch norm with the statistics of all processes, which would have to meet in
            their backward passes.
    """
    if any(map(synchronizes, trunk.modules())):
        raise ValueError("the trunk has a synchronized batch norm, which is not computed twice: take another norm")
    blocks = {block: _Again(block, block.forward) for block in blocks_of(trunk)}
    if not blocks:
        raise ValueError(f"{type(trunk).__name__} has no blocks of {CONVOLUTIONS} convolutions or more")
    for line in trunk.modules():
        if type(line) is nn.Sequential and len(line) > 1 and set(line) <= blocks.keys():
            vars(line)["forward"] = _Line([blocks[block] for block in line])
    for block, again in blocks.items():
        vars(block)["forward"] = again
    for pyramid in trunk.modules():
        if isinstance(pyramid, FPN) and type(pyramid).forward is FPN.forward:
            vars(pyramid)["forward"] = partial(_pyramid, pyramid)


def recompute_losses(model: nn.Module) -> None:
    """Has heads keep of their losses, image by image, what these are computed of; others are left as they are."""
    for module in model.modules():
        if isinstance(module, LosesByImage):
            module.keep_no_losses()


def image_by_image(terms: Callable[[Tensor, int], Tensor], outputs: Tensor) -> Tensor:
    """(K, N) ``terms`` of each image alone, of which nothing is kept but ``outputs``.

    Args:
        terms: of the outputs of one image (1, ...) and its place in [0, N), (K, 1); draws no random numbers.
        outputs: (N, ...).
    """
    again = partial(checkpoint, terms, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(output, n) for n, output in enumerate(outputs.split(1))], dim=1)


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


class _Again:
    """The ``forward`` of a block that keeps what it is given."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        self.block, self._forward = block, forward
        self.within = False  # something that is computed again itself, in one piece

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.within or not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        return _without_activations([self.block], self._forward, *args, **kwargs)


class _Line:
    """The ``forward`` of an ``nn.Sequential`` that keeps what its stretches of blocks are given.

    A trunk may as well call the blocks one by one, past the ``nn.Sequential``: then each keeps what it is given.
    """

    def __init__(self, blocks: Sequence[_Again]) -> None:
        count = ceil(len(blocks) / STRETCH)
        self._stretches = [blocks[len(blocks) * k // count : len(blocks) * (k + 1) // count] for k in range(count)]

    def __call__(self, x: Any) -> Any:
        for stretch in self._stretches:
            run = partial(_run, stretch)
            x = _without_activations([again.block for again in stretch], run, x) if torch.is_grad_enabled() else run(x)
        return x


def _run(stretch: Sequence[_Again], x: Any) -> Any:
    for again in stretch:
        again.within = True
        try:
            x = again.block(x)
        finally:
            again.within = False
    return x


def _pyramid(fpn: FPN, x: Tensor) -> dict[str, Tensor]:
    """``FPN.forward``, whose levels keep what they are made of: its sums are as large as what it gives."""
    given = fpn.bottom_up(x)
    above: Tensor | None = None
    levels: list[Tensor] = []
    for name, lateral, output in zip(reversed(fpn.in_features), fpn.lateral_convs, fpn.output_convs, strict=True):
        run = partial(_level, lateral, output, 2 if fpn._fuse_type == "avg" else 1)
        if torch.is_grad_enabled():
            above, level = _without_activations([lateral, output], run, given[name], above)
        else:
            above, level = run(given[name], above)
        levels.insert(0, level)
    if fpn.top_block is not None:
        name = fpn.top_block.in_feature
        levels.extend(fpn.top_block(given[name] if name in given else levels[fpn._out_features.index(name)]))
    return dict(zip(fpn._out_features, levels, strict=True))


def _level(
    lateral: nn.Module, output: nn.Module, divisor: int, feature: Tensor, above: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The sum that goes on to the next level, and what this level gives."""
    total = lateral(feature)
    if above is not None:
        total = total + F.interpolate(above, scale_factor=2.0, mode="nearest")
        total = total if divisor == 1 else total / divisor
    return total, output(total)


def _without_activations(blocks: Sequence[nn.Module], forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``forward`` makes of ``args`` by ``blocks``, which are computed again.

    Raises:
        ValueError: it changes them in place.
    """
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    versions = [tensor._version for tensor in given]
    contexts = partial(_contexts, blocks)
    output = checkpoint(partial(_on_copies, forward), *args, use_reentrant=False, context_fn=contexts, **kwargs)
    if versions != [tensor._version for tensor in given]:
        raise ValueError(
            f"MTL.RECOMPUTE cannot be True: {type(blocks[0]).__name__} changes what it is given in place, and would be "
            "computed again of something else; have its first operation make a new tensor, or set it to False"
        )
    return output


def _on_copies(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Some blocks put their results into the list that they are given, as HRNet's do: a repetition needs it as it was.

    Tensors are not copied.
    """
    args, kwargs = tree_map(lambda leaf: leaf, (args, kwargs))
    return forward(*args, **kwargs)


def _contexts(blocks: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _Repetition(blocks)


class _Repetition:
    """For passes that are a repetition: what batch norms do to their running statistics is forgotten.

    It is entered once in each backward pass, which a context made by ``contextlib.contextmanager`` cannot be.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        layers = chain.from_iterable(block.modules() for block in blocks)
        self._norms = [layer for layer in layers if isinstance(layer, _BatchNorm) and layer.training]
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
