"""The loss of a task from each source of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from detectron2.utils.events import get_event_storage
from torch import Tensor

from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Sample, TaskHead
from mtl_d2.tasks.registry import kind_of
from mtl_d2.tasks.sources import kept_labels_of, labels_of
from mtl_d2.tasks.task import Task


def sources_of(task: Task, sample: Sample) -> tuple[bool, ...]:
    """Whether a sample has a label of ``task`` from each of its sources."""
    kind = kind_of(task.name)
    return tuple(kind.is_in(labels_of(sample, source)) for source in task.sources)


def losses_by_source(
    head: TaskHead, task: Task, features: dict[str, Tensor], samples: list[Sample], reduction: Reduction
) -> dict[str, Tensor]:
    """The terms of each source over the samples that have a label from it, by name with the source's prefix.

    A head with ``losses_of_outputs`` runs its layers once for all sources, another one once for each of them. Without
    a sample of a source it takes part in the collectives of that source.

    Args:
        head: of the task.
        task: with its sources.
        features: of the samples.
        samples: that the task supervises.
        reduction: sums over processes.
    """
    if len(task.sources) == 1:
        return head.losses(features, samples, reduction)
    separate = getattr(head, "losses_of_outputs", None)
    outputs = head.outputs(features) if separate is not None and samples else []
    labelled = [sources_of(task, sample) for sample in samples]
    terms: dict[str, Tensor] = {}
    for k, source in enumerate(task.sources):
        rows = [n for n, answers in enumerate(labelled) if answers[k]]
        chosen = [kept_labels_of(samples[n], source) for n in rows]
        with _logged_under(source.prefix):
            if separate is None:
                own = head.losses({name: _rows(f, rows) for name, f in features.items()}, chosen, reduction)
            else:
                own = separate([_rows(output, rows) for output in outputs], chosen, reduction, source)
        terms |= {source.prefix + key: term for key, term in own.items()}
    return terms


def _logged_under(prefix: str) -> AbstractContextManager[Any]:
    """What detectron2's losses log, such as the number of positives, stands under the source's prefix too."""
    return get_event_storage().name_scope(prefix) if prefix else nullcontext()


def _rows(output: Tensor, rows: Sequence[int]) -> Tensor:
    """Those of the samples ``rows``."""
    return output if len(rows) == len(output) else output[list(rows)]


def source_without_samples(task: Task, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """A 0 for each term of a present task that no sample has labels for: other trainers log the same terms always."""
    zero = next(iter(terms.values())).detach() * 0
    return dict.fromkeys(task.loss_keys, zero) | terms


def weighted_terms(task: Task, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Terms times the weight of their source, so that their sum is the task's loss."""
    pairs = zip(task.sources, task.by_source(terms), strict=True)
    return {
        key: term if source.weight == 1 else term * source.weight
        for source, of_source in pairs
        for key, term in of_source.items()
    }
