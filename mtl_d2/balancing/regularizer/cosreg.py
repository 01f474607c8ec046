"""CosReg: pulls the tasks' gradients towards being orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtl_d2.balancing.exact.rows import add
from mtl_d2.balancing.exact.whole import connected_losses
from mtl_d2.balancing.interfaces import Gradients, Regularizer, Setup
from mtl_d2.balancing.registry import REGULARIZERS
from mtl_d2.options import choice, flag, number

if TYPE_CHECKING:
    from mtl_d2.balancing.exact.oracle import Oracle
    from mtl_d2.balancing.exact.replay import Replay
    from mtl_d2.balancing.interfaces import UpdateResult

STEP = 1e-4  # of the norm of the last shared layer, for finite differences


@REGULARIZERS.named("cosreg")
class CosReg(Regularizer):
    """Adds the mean squared cosine between the tasks' gradients at the last shared layer to the objective.

    Paper: Suteu and Guo, Regularizing deep multi-task networks using orthogonal gradients, 2019,
    https://arxiv.org/abs/1912.06844, eq. 4-5.
        penalty = alpha / (T'(T'-1)) * sum_{i != j} cos(g_i, g_j)^2, over the T' present tasks; in [0, alpha]
    with g_i the raw gradient of L_i with respect to the last shared layer, differentiated through. It is no task: its
    gradient is added after aggregation, to the shared parameters and, in a joint step, to the heads.
    Differs from: implementations that patch zero gradients with an epsilon; pairs with one are left out here. Its own
    passes are not in half precision, which is too coarse for second derivatives and differences.
    """

    needs_last_layer = True
    options = {
        "alpha": number(10.0, "the paper's alpha: 10 on NYUv2 and SUN RGB-D, 0.1 together with batch norm", least=0),
        "times_loss": flag(
            False,
            "multiply alpha by the mean of the task losses, as in the paper's NYUv2 runs: a constant, taken where the "
            "penalty is taken, at the parameters that the update starts from",
        ),
        "double_backward": choice(
            "exact",
            "'finite': central differences, for networks whose operators (RoIAlign, SyncBN) have no second derivative; "
            "two more passes for each task",
            ("exact", "finite"),
        ),
    }

    def __init__(self, setup: Setup, alpha: float, times_loss: bool, double_backward: str) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.alpha, self.times_loss = alpha, times_loss
        self._differentiate = {"exact": _exact, "finite": _finite}[double_backward]
        self._value = 0.0

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """That there are two tasks."""
        return [] if setup.num_tasks > 1 else ["it compares tasks with each other, so it needs two at least"]

    @classmethod
    def is_neutral(cls, values: Mapping[str, Any]) -> bool:
        """With alpha = 0 there is no penalty."""
        return values["alpha"] == 0

    @classmethod
    def differentiates_twice(cls, values: Mapping[str, Any]) -> bool:
        """Unless it takes differences."""
        return values["double_backward"] == "exact"

    def gradient(self, oracle: Oracle, result: UpdateResult, replay: Replay) -> tuple[Gradients, list[Gradients]]:
        """Gradient of the penalty for the shared parameters and for each head; see ``Regularizer``."""
        tasks = [name for name, here in zip(oracle.names, result.present.tolist(), strict=True) if here]
        losses = result.losses if result.start_losses is None else result.start_losses
        factor = self.alpha * (float(losses[result.present].mean()) if self.times_loss else 1.0)
        self._value = 0.0
        if len(tasks) < 2:
            return [None] * len(oracle.shared), [[None] * len(head) for head in oracle.heads]

        def pull(rows: Tensor) -> Tensor:
            rows = rows.detach().double().requires_grad_()
            penalty = factor * mean_squared_cosine(rows)
            self._value = float(penalty.detach())
            return torch.autograd.grad(penalty, rows)[0]

        with oracle.precision.full():
            return self._differentiate(oracle, tasks, pull, replay)

    def scalars(self) -> dict[str, float]:
        """The penalty."""
        return {"penalty": self._value}


def mean_squared_cosine(rows: Tensor) -> Tensor:
    """Mean of cos^2 over the pairs of different rows ((T, n) float64); a row of zeros has cosine 0."""
    norms = rows.norm(dim=1)
    moving = norms > 0
    units = rows[moving] / norms[moving, None]
    cosine = units @ units.T
    pairs = len(rows) * (len(rows) - 1)
    return (cosine**2 - torch.diag(cosine.diagonal() ** 2)).sum() / pairs


def _exact(oracle: Oracle, tasks: list[str], pull: Any, replay: Replay) -> tuple[Gradients, list[Gradients]]:
    """sum_i (d penalty / d g_i) . (d g_i / d parameters), by a second backward pass through the first.

    d penalty / d g_i needs the g_i of the whole batch: with micro-batches there are passes before for these alone.
    """
    last = [oracle.shared[k] for k in oracle.last_layer]
    parameters = [*oracle.shared, *(p for head in oracle.heads for p in head)]
    total: Gradients = [None] * len(parameters)
    pulls: Tensor | None = None
    if oracle.accumulate > 1:
        with replay.again():
            parts = [torch.stack(_local_rows(losses, last, False)) for losses in connected_losses(oracle, tasks)]
        pulls = pull(oracle.reduction.average(torch.stack(parts).sum(0)))
    with replay.again():
        for losses in connected_losses(oracle, tasks):
            local = _local_rows(losses, last, True)
            if pulls is None:
                pulls = pull(oracle.reduction.average(torch.stack(local).detach()))
            surrogate = torch.stack([(g.double() * v).sum() for g, v in zip(local, pulls, strict=True)]).sum()
            if surrogate.requires_grad:  # not in a process none of whose samples reaches the layer
                add(total, _second_backward(surrogate, parameters))
            del losses, local, surrogate  # frees the graph before the next micro-batch runs
    return _divide(oracle, oracle.reduction.average_gradients(total, parameters))


def _local_rows(losses: list[Tensor | None], last: list[Any], differentiable: bool) -> list[Tensor]:
    """This process's gradient of each loss at the last shared layer, flat."""
    return [
        _flat(
            torch.autograd.grad(loss, last, retain_graph=True, create_graph=differentiable, allow_unused=True), last
        )  # the next loss may have a part of its graph in common
        if loss is not None
        else torch.zeros(sum(p.numel() for p in last), device=last[0].device, dtype=last[0].dtype)
        for loss in losses
    ]


def _second_backward(surrogate: Tensor, parameters: list[Any]) -> Gradients:
    try:
        return list(torch.autograd.grad(surrogate, parameters, allow_unused=True))
    except RuntimeError as error:
        raise RuntimeError(
            f"CosReg needs second derivatives, and an operator of this model has none ({error}); set "
            "MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD to 'finite'"
        ) from error


def _finite(oracle: Oracle, tasks: list[str], pull: Any, replay: Replay) -> tuple[Gradients, list[Gradients]]:
    """The same by (grad L_i(W + h v_i) - grad L_i(W - h v_i)) / 2h, v_i = d penalty / d g_i, W the last layer."""
    last = [oracle.shared[k] for k in oracle.last_layer]
    start = [p.detach().clone() for p in last]
    kept = [p.grad for p in oracle.model.parameters()]
    with replay.again():
        here = oracle.gradients(tasks)
    places = [oracle.names.index(task) for task in tasks]
    pulls = pull(torch.stack([_flat([here.rows[i][k] for k in oracle.last_layer], last) for i in places]))
    parameters = [*oracle.shared, *(p for head in oracle.heads for p in head)]
    total: Gradients = [None] * len(parameters)
    for task, i, v in zip(tasks, places, pulls, strict=True):
        length = float(v.norm())
        if length == 0:
            continue
        h = STEP * max(float(_flat(start, last).norm()), 1.0) / length
        for sign in (1.0, -1.0):
            _move(last, start, v.to(last[0].dtype) * (sign * h))
            with replay.again():
                moved = oracle.gradients([task])
            gradients = [*moved.rows[i], *(g for head in moved.heads for g in head)]
            add(total, [None if g is None else g * (sign / (2 * h)) for g in gradients])
    _move(last, start, torch.zeros_like(_flat(start, last)))
    for parameter, gradient in zip(oracle.model.parameters(), kept, strict=True):
        parameter.grad = gradient
    return _divide(oracle, total)


def _flat(gradients: Any, like: list[Any]) -> Tensor:
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
    return torch.cat([part.reshape(-1) for part in parts])


def _move(parameters: list[Any], start: list[Tensor], by: Tensor) -> None:
    with torch.no_grad():
        for parameter, origin, step in zip(parameters, start, by.split([p.numel() for p in start]), strict=True):
            parameter.copy_(origin + step.view_as(origin))


def _divide(oracle: Oracle, gradients: Gradients) -> tuple[Gradients, list[Gradients]]:
    shared, rest = gradients[: len(oracle.shared)], iter(gradients[len(oracle.shared) :])
    return shared, [[next(rest) for _ in head] for head in oracle.heads]
