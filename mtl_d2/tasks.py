"""What a model says about its tasks. Imports torch and nothing of detectron2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

REGIONS = (
    "regions_left_out"  # key of a sample: Boxes (K, 4), K >= 1, in pixels, of annotations that ``is_region`` names
)


@dataclass(frozen=True)
class Task:
    """One task of a multi-task model.

    Attributes:
        name: the task's name in configs, logs and reports, e.g. ``detection``.
        loss_keys: the keys under which the model returns the terms of this task's loss; their sum is L_i.
        head_modules: dotted names of the submodules whose parameters belong to this task alone. Whatever belongs to
            no task is shared.
    """

    name: str
    loss_keys: tuple[str, ...]
    head_modules: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """Where the label of a task stands: in a data set's record, and in the sample that the mapper makes of it.

    Attributes:
        record_key: key of detectron2's dataset dict whose presence says that the record is labelled for the task.
        sample_key: key of the mapped sample that holds the label.
        annotation_key: key that every annotation of the record must have besides, regions aside; empty = none.
        field: field of the ``Instances`` there that is the label; empty where the whole of it is.
    """

    record_key: str
    sample_key: str
    annotation_key: str = ""
    field: str = ""

    def is_in(self, sample: dict) -> bool:
        """Whether a mapped sample has this label."""
        return self.sample_key in sample and (not self.field or sample[self.sample_key].has(self.field))

    def is_in_record(self, record: dict) -> bool:
        """Whether a data set's record has this label; an image without objects lacks nothing of theirs."""
        if self.record_key not in record:
            return False
        if not self.annotation_key:
            return True
        return all(self.annotation_key in a for a in record[self.record_key] if not is_region(a))

    def is_in_some(self, records: Iterable[dict]) -> bool:
        """Whether a data set has this label; images that show nothing do not say whether others have masks."""
        if not self.annotation_key:
            return any(self.record_key in r for r in records)
        annotations = (a for r in records for a in r.get(self.record_key) or () if isinstance(a, Mapping))
        values = (a.get(self.annotation_key) for a in annotations)
        return any(value is not None and not (isinstance(value, Sized) and len(value) == 0) for value in values)


def is_region(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is no object but a region to be left out, where objects are not told apart or not sought.

    Data sets say so by ``iscrowd`` or ``ignore``, 0 or 1; absent = 0.
    """
    return bool(annotation.get("iscrowd", 0) or annotation.get("ignore", 0))


CLASSIFICATION = "class_"  # how the names of tasks that classify a whole image begin


class Labels(dict[str, Label]):
    """Labels by task: the rows given, and any number of classifications ``class_<anything>``.

    A classification's label is a class id, an int under the task's own name, in record and sample alike.
    """

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or is_classification(task)

    def __missing__(self, task: str) -> Label:
        if is_classification(task):
            return Label(task, task)
        raise KeyError(task)


def is_classification(task: object) -> bool:
    """Whether ``task`` is the name of a task that says one class of a whole image."""
    return isinstance(task, str) and task.startswith(CLASSIFICATION) and task != CLASSIFICATION


# A task is any name of this table: a new kind of label is a new row here and a reader in data/mapper.py.
LABELS = Labels(
    {
        "detection": Label("annotations", "instances"),
        "instance": Label("annotations", "instances", "segmentation", "gt_masks"),
        "semantic": Label("sem_seg_file_name", "sem_seg"),
    }
)


def head_parameters(model: nn.Module, task: Task) -> list[nn.Parameter]:
    """Parameters that belong to ``task`` alone and require a gradient, in the order of the model."""
    found: dict[int, nn.Parameter] = {}
    for name in task.head_modules:
        for p in model.get_submodule(name).parameters():
            if p.requires_grad:
                found[id(p)] = p
    return list(found.values())


def shared_parameters(model: nn.Module, tasks: Iterable[Task]) -> list[nn.Parameter]:
    """Parameters that require a gradient and belong to no task's head, in the order of the model."""
    own = {id(p) for task in tasks for p in head_parameters(model, task)}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in own]


def available_tasks(sample: dict, tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks among ``tasks`` that a mapped sample has a label for, in the order of ``tasks``."""
    return tuple(t for t in tasks if LABELS[t].is_in(sample))
