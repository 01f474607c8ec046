"""What an analysis says: cosines, norms and their ratios by part of the network, with their spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor

from mtl_d2.analysis.bootstrap import Estimate, estimates
from mtl_d2.analysis.measure import Measurement, measure
from mtl_d2.analysis.stages import stages_of
from mtl_d2.balancing.exact.rows import cosines
from mtl_d2.balancing.interfaces import MultiTaskModel

ALL, STAGE, LAYER = "all", "stage", "layer"  # levels of parts


@dataclass(frozen=True)
class Part:
    """A part of the shared parameters.

    Attributes:
        level: "all" of them, a "stage" or a "layer".
        name: of the stage, or of the layer's module.
        stage: the name of the stage that it is in or is; empty for all.
        parameters: numbers in it.
    """

    level: str
    name: str
    stage: str
    parameters: int


@dataclass(frozen=True)
class Analysis:
    """Of one state of a model on some batches. Parts are in the order in which they are run.

    Attributes:
        tasks: names of the T tasks.
        parts: all shared parameters, then the stages, then the layers.
        batches: by task, how many had a sample of it.
        together: by pair of tasks, how many had samples of both.
        cosines: by (part, task, other task) in the order of ``tasks``, the mean over batches of the cosine between
            their gradients in that part, in [-1, 1]; there is none where a gradient was zero in each batch.
        norms: by (part, task) the geometric mean of the norm of a gradient, > 0.
        ratios: by (part, task, other task) in both orders, the geometric mean of the first one's norm divided by the
            other one's in the same batch.
        empty: batches without a label of any task.
    """

    tasks: tuple[str, ...]
    parts: tuple[Part, ...]
    batches: Mapping[str, int]
    together: Mapping[tuple[str, str], int]
    cosines: Mapping[tuple[Part, str, str], Estimate]
    norms: Mapping[tuple[Part, str], Estimate]
    ratios: Mapping[tuple[Part, str, str], Estimate]
    empty: int = 0

    def at(self, level: str) -> tuple[Part, ...]:
        """The parts of a level: "all", "stage" or "layer"."""
        return tuple(part for part in self.parts if part.level == level)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Of tasks."""
        return list(combinations(self.tasks, 2))


def analyze(
    model: MultiTaskModel,
    batches: Iterable[list[dict]],
    *,
    accumulate: int = 1,
    seed: int = 0,
    told: Callable[[int], None] = lambda number: None,
) -> Analysis:
    """Which layers and stages of a model its tasks disagree in.

    ::

        from mtl_d2.analysis import analyze, advice
        analysis = analyze(model, batches)  # 16 lists of samples
        for sentence in advice(analysis):
            print(sentence)

    Any model that follows ``mtl_d2.balancing.interfaces.MultiTaskModel`` can be analyzed; docs/analysis.md has one.
    Nothing of it is changed: its modes, buffers, gradients and torch's generators are put back.

    Args:
        model: an ``nn.Module`` with T >= 2 tasks, at whatever parameters it has now.
        batches: lists of the model's samples, each as large as those of its training; at least five, 16 are usual.
        accumulate: K >= 1, micro-batches that a batch crosses the network in, to need less memory.
        seed: of what the model draws.
        told: is called after each batch with its number, from 1 on.

    Raises:
        AnalysisError: there is nothing to compare, or a loss or gradient is not finite.
    """
    return summarize(measure(model, batches, accumulate, seed, told))


def summarize(measurement: Measurement) -> Analysis:
    """Means over batches, by part; a stage's gradient is that of all its layers together."""
    tasks, layers = measurement.tasks, measurement.layers
    stages = stages_of([layer.name for layer in layers])
    of_layer = {place: stage.name for stage in stages for place in stage.layers}
    count = sum(layer.parameters for layer in layers)
    parts = [Part(ALL, "all shared parameters", "", count)]
    parts += [Part(STAGE, s.name, s.name, sum(layers[k].parameters for k in s.layers)) for s in stages]
    parts += [Part(LAYER, layer.name, of_layer[k], layer.parameters) for k, layer in enumerate(layers)]
    of_stages = [measurement.gramians[:, list(stage.layers)].sum(1) for stage in stages]
    gramians = torch.stack([measurement.gramians.sum(1), *of_stages], dim=1)
    gramians = torch.cat([gramians, measurement.gramians], dim=1)  # (B, parts, T, T)
    logs = gramians.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().log()  # (B, parts, T), -inf of a zero gradient
    defined = logs.isfinite()
    cosine = torch.stack([torch.stack([cosines(g) for g in batch]) for batch in gramians])
    cosine = cosine.where(defined[..., :, None] & defined[..., None, :], math.nan)
    pairs, ordered = list(combinations(tasks, 2)), list(permutations(tasks, 2))
    present = measurement.present.double()
    there, both = present.sum(0).int().tolist(), (present.T @ present).int().tolist()
    place = {task: i for i, task in enumerate(tasks)}
    return Analysis(
        tasks,
        tuple(parts),
        dict(zip(tasks, there, strict=True)),
        {(a, b): both[place[a]][place[b]] for a, b in pairs},
        dict(_named(_of_pairs(cosine, pairs, place), parts, pairs)),
        {key: _exponential(e) for key, e in _named(logs, parts, [(task,) for task in tasks])},
        {
            key: _exponential(e)
            for key, e in _named(_of_pairs(logs[..., :, None] - logs[..., None, :], ordered, place), parts, ordered)
        },
        measurement.empty,
    )


def _of_pairs(values: Tensor, pairs: Sequence[tuple[str, str]], place: Mapping[str, int]) -> Tensor:
    """(B, parts, T, T) to (B, parts, pairs)."""
    return values[..., [place[a] for a, _ in pairs], [place[b] for _, b in pairs]]


def _named(values: Tensor, parts: Sequence[Part], tasks: Sequence[tuple[str, ...]]) -> Iterator[tuple[Any, Estimate]]:
    """The estimates there are of (B, parts, K) values, by part and tasks."""
    keys = ((part, *names) for part in parts for names in tasks)
    for key, estimate in zip(keys, estimates(values.flatten(1).numpy()), strict=True):
        if estimate is not None:
            yield key, estimate


def _exponential(e: Estimate) -> Estimate:
    return Estimate(math.exp(e.mean), math.exp(e.low), math.exp(e.high), e.batches)
