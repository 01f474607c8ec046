"""Two sources of labels: the ground truth, and pseudo labels that teachers made.

A key of a record or a sample that begins with ``PSEUDO`` is the same key of the teachers' labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtl_d2.options import Option, declare, flag, several
from mtl_d2.tasks.base import Sample, TaskKind
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource

PSEUDO = "pseudo/"
# Keys of a sample that are no labels.
ANY_SOURCE = ("file_name", "image_id", "image", "height", "width", "position", "tasks")
NOT_DRAWN = "not_drawn_tasks"  # key of a sample: tasks that supervise it whatever an allocation draws


def _are_weights(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(type(w) in (int, float) for w in value)
    return numbers and all(0 <= w < float("inf") for w in value) and sum(value) > 0


OPTIONS = {
    "FOLDERS": several(
        "Folders of pseudo labels, as tools/pseudo_label.py writes them; see docs/training_with_pseudo_labels.md. "
        "Empty: the training has the ground truth alone.",
        Option("", "", "the path of a folder", lambda value: isinstance(value, str) and bool(value)),
    ),
    "WEIGHTS": Option(
        (0.8, 0.2),
        "w_gt and w_pseudo of MCLGS, eq. 9: a task's loss is w_gt times the mean over its samples with ground truth "
        "plus w_pseudo times the mean over all its samples with pseudo labels. One without samples adds 0.",
        "two numbers >= 0, not both 0",
        _are_weights,
    ),
    "ALLOCATE": flag(
        True,
        "Whether sta, ista and gap draw among all tasks that a sample has a label for, of either source. False: they "
        "draw among those with ground truth, and tasks with pseudo labels alone supervise the sample in every update.",
    ),
}
declare("MTL.PSEUDO_LABELS", OPTIONS)


def label_sources(cfg: Any) -> tuple[LabelSource, ...]:
    """Those that a config trains with."""
    options = cfg.MTL.PSEUDO_LABELS
    if not options.FOLDERS:
        return (GROUND_TRUTH,)
    of_truth, of_pseudo = map(float, options.WEIGHTS)
    return LabelSource("", of_truth), LabelSource(PSEUDO, of_pseudo)


def labels_of(sample: Sample, source: LabelSource) -> Sample:
    """A sample with the labels of one source in their usual places, and none of another's."""
    if not source.prefix:
        return sample
    common = {key: sample[key] for key in ANY_SOURCE if key in sample}
    return common | unprefixed(sample, source.prefix)


def kept_labels_of(sample: Sample, source: LabelSource) -> Sample:
    """``labels_of``, the same dict for the same sample: heads keep in it what belongs to an update."""
    if not source.prefix:
        return sample
    key = f"labels of {source.prefix}"
    if key not in sample:
        sample[key] = labels_of(sample, source)
    return sample[key]


def unprefixed(labels: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What has ``prefix`` in ``labels``, without it."""
    return {key[len(prefix) :]: value for key, value in labels.items() if key.startswith(prefix)}


def has_pseudo_labels(labels: Mapping[str, Any]) -> bool:
    """Whether a record or a sample has any."""
    return any(key.startswith(PSEUDO) for key in labels)


def supervision(sample: Sample, kinds: Sequence[TaskKind], draw_all: bool = True) -> dict[str, tuple[str, ...]]:
    """What a sample says of its tasks: all that it has a label for, and those that no allocation leaves out.

    Args:
        sample: with its labels.
        kinds: of the tasks.
        draw_all: ``MTL.PSEUDO_LABELS.ALLOCATE``.
    """
    true = [kind.task for kind in kinds if kind.is_in(sample)]
    taught = _tasks(kinds, labels_of(sample, LabelSource(PSEUDO))) if has_pseudo_labels(sample) else ()
    both = tuple(kind.task for kind in kinds if kind.task in true or kind.task in taught)
    fixed = () if draw_all else tuple(task for task in both if task not in true)
    return {"tasks": both, NOT_DRAWN: fixed} if fixed else {"tasks": both}


def _tasks(kinds: Iterable[TaskKind], sample: Sample) -> list[str]:
    return [kind.task for kind in kinds if kind.is_in(sample)]
