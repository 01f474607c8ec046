"""Passes of the whole network in one graph: the ordinary backward pass of a weighted sum, and losses for other ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mtl_d2.balancing.exact.batch import add_terms, total, weighted_total
from mtl_d2.balancing.exact.oracle import Oracle
from mtl_d2.balancing.exact.rows import TaskGradients, assign, divide, extremes


def one_backward(oracle: Oracle, factors: Callable[[Tensor, Tensor], Tensor]) -> TaskGradients:
    """One ordinary backward pass of a weighted sum of the losses, into every ``.grad``; only losses are returned, read.

    Heads of absent tasks, and parameters that no present task uses, have None there afterwards.

    Args:
        oracle: with the batch.
        factors: (losses, present) -> (T,) factor of each loss. With micro-batches it is asked before the losses are
            known, with zeros, and once more at the end: its answer must not depend on them.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    sums, batch = oracle.nothing(), oracle.batch
    divided = oracle.accumulate > 1
    known = factors(torch.zeros(len(oracle.names), dtype=torch.float64), batch.present) if divided else None
    for part in batch.parts:
        groups = batch.connected(part)
        oracle.drop_gradients(part)
        terms = [batch.weighted(i, part, batch.head(task, groups)) for i, task in enumerate(oracle.names)]
        for of_task in terms:
            add_terms(sums.local, of_task)
        if known is None:
            known = _factors(oracle, sums, factors)
        losses = [
            (total(own), weight * factor)
            for weight, weighted in zip(known.tolist(), terms, strict=True)
            for own, factor in weighted
        ]
        if losses:
            seeds = [torch.full_like(loss, weight * oracle.precision.scale) for loss, weight in losses]
            torch.autograd.backward([loss for loss, _ in losses], seeds)
        del groups, terms, of_task, losses  # frees the graph before the next micro-batch runs
    if divided:
        _factors(oracle, sums, factors)
    moving = [p for i in sums.present.nonzero().flatten().tolist() for p in oracle.heads[i]] + oracle.shared
    local = divide([p.grad for p in moving], oracle.precision.scale)
    assign(oracle.reduction.average_gradients(local, moving), moving)
    return sums


def _factors(oracle: Oracle, sums: TaskGradients, factors: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    oracle.send_losses(sums)
    oracle.read(sums)
    return factors(sums.losses, sums.present)


def connected_losses(oracle: Oracle, tasks: Sequence[str]) -> Iterator[list[Tensor | None]]:
    """This process's losses of ``tasks`` with the graph of the whole network; None for one without samples.

    Those of one micro-batch after the other, which add up to the losses.
    """
    for part in oracle.batch.parts:
        groups = oracle.batch.connected(part)
        places = [oracle.names.index(task) for task in tasks]
        terms = [
            oracle.batch.weighted(i, part, oracle.batch.head(task, groups))
            for i, task in zip(places, tasks, strict=True)
        ]
        yield [weighted_total(of_task) if of_task else None for of_task in terms]


def blame(oracle: Oracle) -> str:
    """Which task's gradient is not finite in which process, where that can be told, and what to do about it.

    The averaged gradients do not tell, so each process takes its own anew: all of them have to ask. With a loss scale
    none does, for a smaller scale is what is tried next.
    """
    tasks = [0] * len(oracle.names)
    if oracle.precision.scale == 1:
        parameters = [p for p in oracle.model.parameters() if p.requires_grad]
        for losses in connected_losses(oracle, oracle.names):
            for i, loss in enumerate(losses):
                if loss is not None:
                    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                    ends = extremes([g for g in gradients if g is not None and g.numel()])
                    tasks[i] |= any(not bool(x.isfinite()) for x in ends)
    culprits = [
        f"task {name} in process {rank}"
        for rank, broken in enumerate(oracle.reduction.numbers_of_all(tasks))
        for name, bad in zip(oracle.names, broken, strict=True)
        if bad
    ]
    return (f"It comes from {', '.join(culprits)}. " if culprits else "") + oracle.hint()
