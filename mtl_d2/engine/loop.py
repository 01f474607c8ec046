"""One update of a multi-task training: the only ``run_step`` there is, and what it logs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations
from math import fsum, sqrt
from typing import Any

import torch
from detectron2.engine import TrainerBase
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from mtl_d2.balancing import Balancer, Oracle, UpdateResult
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.balancing.exact.rows import GradientCheck, cosines
from mtl_d2.balancing.exact.whole import blame
from mtl_d2.data.allocation import Allocation
from mtl_d2.engine.consecutive import ConsecutiveUpdates
from mtl_d2.engine.snapshot import Snapshot
from mtl_d2.parallel.reduction import Reduction

WINDOW = 50  # updates over which the spread of a cosine is taken, as in CosReg's figure 3


class Diagnostics:
    """Names the numbers of an update, and keeps the cosines of the last ``WINDOW`` updates."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        """Args: ``tasks`` in the order of all (T,) vectors."""
        self.tasks = tasks
        self._recent: dict[str, deque[float]] = {}

    def state_dict(self) -> dict[str, list[float]]:
        """The kept cosines by name."""
        return {name: list(values) for name, values in self._recent.items()}

    def load_state_dict(self, state_dict: dict[str, list[float]]) -> None:
        """Goes on from them."""
        self._recent = {name: deque(values, maxlen=WINDOW) for name, values in state_dict.items()}

    def __call__(self, result: UpdateResult) -> dict[str, float]:
        """Scalars by name.

        ``task_loss/``, ``coefficient/`` (c_i), ``weight/`` (of the rows, c_i included), ``grad_norm/`` of each present
        task; ``cosine/`` of each pair of them, and ``cosine_std/`` over the last 50 updates; ``cosine_level/`` and
        ``cosine_level_std/`` where the weights came from another level; and what the methods say of themselves.
        """
        present = result.present.nonzero().flatten().tolist()
        values = dict(result.scalars)
        numbers = {"task_loss": result.losses, "coefficient": result.coefficients}
        numbers["weight"] = result.weights.shared * result.coefficients
        if result.gramian is not None:
            numbers["grad_norm"] = result.gramian.diagonal().sqrt()
        for group, vector in numbers.items():
            entries = vector.tolist()
            values |= {f"{group}/{self.tasks[i]}": entries[i] for i in present}
        pairs = self._pairs("cosine_level", result.level_gramian, present)
        pairs |= self._pairs("cosine", result.gramian, present)
        return values | pairs | dict(spread for name, value in pairs.items() for spread in self._spread(name, value))

    def _pairs(self, group: str, gramian: Tensor | None, present: list[int]) -> dict[str, float]:
        if gramian is None:
            return {}
        cosine = cosines(gramian).tolist()
        return {f"{group}/{self.tasks[i]}_{self.tasks[j]}": cosine[i][j] for i, j in combinations(present, 2)}

    def _spread(self, name: str, value: float) -> list[tuple[str, float]]:
        recent = self._recent.setdefault(name, deque(maxlen=WINDOW))
        recent.append(value)
        if len(recent) < WINDOW:
            return []
        return [(spread_name(name), standard_deviation(recent))]


def standard_deviation(values: Collection[float]) -> float:
    """That of a population."""
    mean = fsum(values) / len(values)
    return sqrt(fsum((value - mean) ** 2 for value in values) / len(values))


def spread_name(name: str) -> str:
    """What the standard deviation of a cosine is called: ``cosine_std/a_b`` for ``cosine/a_b``."""
    return name.replace("/", "_std/", 1)


class MultiTaskLoop(TrainerBase):
    """Takes a batch, has the balancer fill the gradients, clips them and steps."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        balancer: Balancer,
        build_loader: Callable[[int], Iterable[list[dict]]],
        allocation: Allocation,
        clip_norm: float | None = None,
        reduction: Reduction | None = None,
        last_shared: Sequence[str] = (),
        precision: Precision | None = None,
        accumulate: int = 1,
    ) -> None:
        """Builds nothing that costs time: the loader is made for the first batch.

        Args:
            model: a ``mtl_d2.balancing.interfaces.MultiTaskModel``.
            optimizer: of the model's parameters.
            balancer: makes the update.
            build_loader: gives batches, from the sample on that its argument counts in the global stream.
            allocation: says which tasks supervise which of their samples.
            clip_norm: bound of the global norm of the combined gradient, or None.
            reduction: collectives; by default those of one process.
            last_shared: names of the modules of the last shared layer; by default the model says.
            precision: of the forward passes; by default that of the parameters.
            accumulate: K >= 1, micro-batches of an update.
        """
        super().__init__()
        model.train()
        self.model = model
        self.optimizer = optimizer
        self.balancer = balancer
        self.precision = precision or Precision()
        # A module that follows the protocol.
        self.oracle = Oracle(model, reduction, last_shared, self.precision, accumulate)  # type: ignore[arg-type]
        self.clip_norm = clip_norm
        owners = [f"the head of task {name}" for name in self.oracle.names]
        owner = {id(p): name for name, head in zip(owners, self.oracle.heads, strict=True) for p in head}
        self._owned = [(owner.get(id(p), "the shared parameters"), p) for p in model.parameters() if p.requires_grad]
        self.allocation = allocation
        self.diagnostics = Diagnostics(balancer.setup.tasks)
        self.consecutive = ConsecutiveUpdates(self.oracle.shared, balancer.logs_angles)
        self.cosine_updates = 0  # updates in which at least two tasks were present
        self._build_loader = build_loader
        self.loader: Iterable[list[dict]] = ()  # that of the batches, once there is one
        self._batches: Iterator[list[dict]] | None = None

    def run_step(self) -> None:
        """One update, its log entries included."""
        start = time.perf_counter()
        if self._batches is None:
            self.loader = self._build_loader(self.allocation.start)
            self._batches = self.allocation(self.loader)
        self.oracle.load(next(self._batches), self.iter, self.optimizer.param_groups[0]["lr"])
        data_time = time.perf_counter() - start
        result = self._update()
        if self.precision.scales:
            scale = {"amp/scale": self.precision.scale, "amp/skipped": self.precision.skipped}
            get_event_storage().put_scalars(smoothing_hint=False, **scale)
        if result is not None:
            self._log(result, data_time)

    def _update(self) -> UpdateResult | None:
        """Makes the update. One that overflows in float16 leaves nothing behind but a smaller scale, and gives None.

        Raises:
            FloatingPointError: a loss or gradient is not finite, and a smaller scale would not help.
        """
        if not self.precision.scales:
            return self.balancer(self.oracle, self.iter, self._apply)
        before = Snapshot(self.model, self.balancer, self.optimizer, parameters=self.balancer.step.moves > 1)
        try:
            result = self.balancer(self.oracle, self.iter, self._apply)
        except FloatingPointError:
            if self.precision.scale <= 1:
                raise
            before.restore()
            self.precision.update(overflowed=True)
            return None
        self.precision.update(overflowed=False)
        return result

    def _apply(self) -> None:
        """Moves the parameters that have a ``.grad``, once all of these are known to be finite.

        Raises:
            FloatingPointError: they are not; the message names tasks where it is their heads', else shared parameters.
        """
        oracle, storage, clip = self.oracle, get_event_storage(), self.clip_norm
        check = GradientCheck(self._owned, norms=clip is not None)
        broken, values = check.read(*(() if clip is None else (check.clip(clip),)))
        if broken:
            what = "the gradient" if clip is None else "the norm of the gradient"
            raise FloatingPointError(
                f"update {oracle.update}: {what} is not finite for {', '.join(broken)}. {blame(oracle)}"
            )
        if values:
            storage.put_scalar("grad_norm/update", values[0], smoothing_hint=False)
        if self.balancer.exact_every:
            storage.put_scalars(smoothing_hint=False, **self.consecutive(self.iter))
        self.optimizer.step()

    def _log(self, result: UpdateResult, data_time: float) -> None:
        storage = get_event_storage()
        storage.put_scalar("data_time", data_time)
        storage.put_scalars(total_loss=sum(result.terms.values()), **result.terms)
        self.cosine_updates += sum(result.present.tolist()) >= 2
        share = self.cosine_updates / (self.iter + 1)
        storage.put_scalars(smoothing_hint=False, cosine_defined=share, **self.diagnostics(result))

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on, besides the model."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "balancer": self.balancer.state_dict(),
            "allocation": self.allocation.state_dict(),
            "cosine_updates": self.cosine_updates,
            "diagnostics": self.diagnostics.state_dict(),
            "precision": self.precision.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues where ``state_dict`` was taken; the loader is made anew from there."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.balancer.load_state_dict(state_dict["balancer"])
        self.allocation.load_state_dict(state_dict["allocation"])
        self.cosine_updates = state_dict["cosine_updates"]
        self.diagnostics.load_state_dict(state_dict["diagnostics"])
        self.precision.load_state_dict(state_dict["precision"])
        self._batches = None
