"""What an update is made of: the values that pass between its parts, what it asks of a model, the kinds of method.

T tasks; L_i the loss of task i over its samples of the global batch; g_i its gradient with respect to the shared
parameters; G the T x T Gramian of the rows g_i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mtl_d2.options import Options
from mtl_d2.parallel.reduction import Gradients, Reduction

if TYPE_CHECKING:
    from mtl_d2.balancing.exact.oracle import Oracle, TaskGradients
    from mtl_d2.balancing.exact.replay import Replay
    from mtl_d2.tasks.task import Task

Features = dict[str, Tensor]


@dataclass(frozen=True)
class Setup:
    """What every method may know of the run it works in.

    Attributes:
        tasks: names of the T tasks, in the order of all (T,) vectors.
        total_updates: number of optimizer updates of the whole training, > 0.
        higher_is_better: of the metric "group/name" of an evaluation; None where that is not known.
    """

    tasks: tuple[str, ...]
    total_updates: int
    higher_is_better: Callable[[str], bool | None] = lambda metric: None

    @property
    def num_tasks(self) -> int:
        """T."""
        return len(self.tasks)


@dataclass(frozen=True)
class Context:
    """What methods see of the update that is being made.

    Attributes:
        update: number of optimizer updates made before this one, >= 0.
        losses: (T,) float64 raw losses of the global batch, on the CPU; 0 where absent.
        present: (T,) bool, on the CPU.
        generator: on the CPU, the same on every process, keyed by seed and update.
        indices: places of these tasks among all, where the context is of some of them.
        rows: (T, r) float64 on the CPU, coordinates of the task gradients in an orthonormal basis of their span, or
            None where only their Gramian is known: what nearly parallel gradients differ in has more digits here. An
            ``Aggregator`` that ``takes_coordinates`` always has them.
        trace: of the Gramian that an ``Aggregator`` gets, before it was divided by it: the sum of squared norms.
    """

    update: int
    losses: Tensor
    present: Tensor
    generator: torch.Generator
    indices: tuple[int, ...] = ()
    rows: Tensor | None = None
    trace: float = 1.0

    def of(self, chosen: Tensor) -> Context:
        """The context of the tasks that ``chosen`` ((T,) bool) marks."""
        indices = tuple(chosen.nonzero().flatten().tolist())
        rows = None if self.rows is None else self.rows[chosen]
        return replace(self, losses=self.losses[chosen], present=self.present[chosen], indices=indices, rows=rows)


@dataclass
class Weights:
    """Factors of one update.

    Attributes:
        shared: (T,) float64 on the CPU; the shared parameters get sum_i shared_i g_i.
        heads: (T,) float64 on the CPU; head i gets heads_i times the gradient of L_i.
    """

    shared: Tensor
    heads: Tensor


@dataclass
class UpdateResult:
    """What one update did, for the logs. Every value is on the CPU.

    Attributes:
        terms: the terms of the task losses by name, averaged over ranks.
        losses: (T,) raw task losses L_i, averaged over ranks, 0 where absent.
        present: (T,) bool, True where some rank had a sample of the task.
        coefficients: (T,) c_i = dS/dL_i.
        weights: what the gradient stage answered, without c.
        gramian: (T, T) of the raw rows g_i, or None where the update needed no rows.
        level_gramian: (T, T) that the weights were taken from, where it was not ``gramian``.
        last_layer_norms: (T,) norms of the raw gradients at the last shared layer, or None likewise.
        update: number of updates made before.
        start_losses: (T,) as ``losses``, at the parameters that the update started from, where those are of others.
        scalars: what a method says of itself, by name, e.g. ``pacing``.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    coefficients: Tensor
    weights: Weights
    gramian: Tensor | None = None
    last_layer_norms: Tensor | None = None
    level_gramian: Tensor | None = None
    update: int = 0
    start_losses: Tensor | None = None
    scalars: dict[str, float] = field(default_factory=dict)


class MultiTaskModel(Protocol):
    """What the update needs of a model, besides being an ``nn.Module``."""

    tasks: tuple[Task, ...]

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Names of the model's tasks that supervise ``sample``."""

    def sample_sources(self, sample: dict, task: str) -> tuple[bool, ...]:
        """Whether ``sample`` has a label of ``task`` from each of its sources; asked of tasks with several."""

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, C, H, W) normalized images, padded at the right and the bottom with zeros; N > 0.

        They are padded further where another process has larger ones.
        """

    def shared_features(self, images: Tensor) -> Features:
        """What the heads work on, by name, each (N, ...)."""

    def task_losses(
        self, task: str, features: Features, samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The terms of one task's loss over ``samples``, by name; of each source of labels over those that have one.

        With no sample it takes part in the collectives and returns nothing. Normalizers go through ``reduction.count``.
        What tasks share beyond features, such as proposals, is constant in an update: the first task that needs it
        keeps it in the sample dict, which is the same in all passes of the update, and new in the next.
        """

    def mixes_samples(self) -> bool:
        """Whether a sample's features depend on the other samples of the batch."""

    def synchronizes(self, task: str | None = None) -> bool:
        """Whether passes of the head of ``task``, or of the trunk, wait for those of other processes (SyncBN)."""

    def head_outputs(self, task: str, features: Features) -> list[Tensor]:
        """Tensors that depend on all that the loss of ``task`` depends on, and on nothing else.

        A process without samples of a task that synchronizes takes part with them: ``features`` are then of no sample,
        and the head's layers run in the order in which ``task_losses`` runs them before its first collective.
        """

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Parameters of the last layer that two tasks share."""


class Strategy(nn.Module):
    """A method that can be named in a config."""

    options: ClassVar[Options] = {}  # its config keys, in lower case

    def __init__(self, setup: Setup, **options: Any) -> None:
        """Args: what the method may know of the run, and its ``options`` with the values of the config."""
        super().__init__()

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One sentence for every rule between the ``options`` that ``values`` break, which may be out of range."""
        return []

    @classmethod
    def is_neutral(cls, values: Mapping[str, Any]) -> bool:
        """Whether the update is the same without it, with these values of its ``options``: tables say so."""
        return False

    @classmethod
    def needs_evaluation(cls, values: Mapping[str, Any]) -> bool:
        """Whether it takes accuracies from evaluations during training, with these values of its ``options``.

        Asked of weightings and aggregators.
        """
        return False

    def on_evaluation(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Sees the metrics of the held-out images, ``{"bbox": {"AP": ...}, ...}``, the same on every process."""

    def scalars(self) -> dict[str, float]:
        """Values of the last update worth a curve in the logs, by name."""
        return {}


class Weighting(Strategy):
    """Gives each task loss its weight in S. Its parameters are trained on plain dS/ds."""

    geometric: bool = True  # whether the weights may be exponents of a geometric mean
    normalized: bool = True  # whether they are divided by their sum there
    needs_rows: bool = False  # whether ``observe`` needs gradient norms: every update then takes the task gradients
    needs_losses: bool = True  # whether weights may depend on the losses of their own update: so do micro-batches then

    def constant(self) -> Tensor | None:
        """(T,) float64 weights that hold for the whole training, else None."""
        return None

    def forward(self, context: Context) -> Tensor:
        """(T,) float64 weights w_i on the CPU; entries of absent tasks are not used.

        They are constants for the losses; a weight that depends on parameters of this module carries their graph.
        """
        raise NotImplementedError

    def offset(self, present: Tensor) -> Tensor:
        """A scalar added to S for the weighting's own parameters, over the present tasks ((T,) bool)."""
        return torch.zeros((), dtype=torch.float64)

    def observe(self, result: UpdateResult) -> None:
        """Sees what an update did, after it: losses, gradient norms."""


class RowScaling(Strategy):
    """Multiplies each task's gradient, its head's too, by a factor alpha_i."""

    def needs_rows(self, update: int) -> bool:
        """Whether the factors of this update depend on its gradients."""
        return True

    def forward(self, gramian: Tensor | None, context: Context) -> Tensor:
        """(T,) float64 factors alpha_i; those of absent tasks are not used.

        ``gramian`` is (T, T) float64 on the CPU, of the rows c_i g_i, those of absent tasks included, which are to be
        left out; None in an update for which ``needs_rows`` says no.
        """
        raise NotImplementedError


class Aggregator(Strategy):
    """Turns the task gradients into one direction, as weights of the rows."""

    scale: ClassVar[str] = "mean"  # what the weights of T orthonormal rows add up to: "sum" for T, "mean" for 1
    elementwise: ClassVar[bool] = False  # whether it makes the direction itself, by ``combine``, of the whole rows
    bounds_length: ClassVar[bool] = False  # whether the direction is shortened to ``max_norm`` where it is longer
    max_norm: float = 0.0  # 0: any length
    takes_coordinates: ClassVar[bool] = False  # whether ``forward`` wants ``context.rows``

    def constant(self, num_tasks: int) -> float | None:
        """The one weight of all rows and heads if it does not depend on the gradients, else None."""
        return None

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) float64 weights of the rows.

        Args:
            gramian: (K, K) float64 on the CPU with trace 1: of the K >= 1 rows of tasks that are present and have a
                gradient that is not zero, after c and the row scaling.
            context: of these K tasks (``context.indices`` are their places among the T).
        """
        raise NotImplementedError

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """The direction of an ``elementwise`` aggregator, parameter by parameter; the rows are freed.

        Args:
            rows: T lists with one tensor for each shared parameter, or None where a task does not reach it.
            weights: T factors, 0 for absent tasks.
            context: of the update.
        """
        raise NotImplementedError


class Regularizer(Strategy):
    """A term of the objective that belongs to no task."""

    needs_last_layer: ClassVar[bool] = False  # whether it looks at gradients of the last shared layer

    @classmethod
    def differentiates_twice(cls, values: Mapping[str, Any]) -> bool:
        """Whether it needs second derivatives of the network, with these values of its ``options``."""
        return False

    def gradient(self, oracle: Oracle, result: UpdateResult, replay: Replay) -> tuple[Gradients, list[Gradients]]:
        """Its gradient at the present parameters, for the shared parameters and for each head.

        ``result`` is of the update so far. Passes are made within ``replay.again()``, to see what its first one saw.
        """
        raise NotImplementedError


class Step(Strategy):
    """Says where the task gradients are taken, and whether heads move with the shared parameters or after them."""

    several_points: ClassVar[bool] = False  # whether each task's gradient is taken at a point of its own
    moves: ClassVar[int] = 1  # 2: the heads move after the shared parameters, along their gradients there

    def gradients(self, oracle: Oracle, replay: Replay) -> TaskGradients:
        """The task gradients of a step with ``several_points``; afterwards the shared parameters are what they were.

        Further passes are made within ``replay.again()``, to see what the first one saw.
        """
        raise NotImplementedError
