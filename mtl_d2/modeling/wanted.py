"""Which predictions of a model somebody looks at: the others need not be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from mtl_d2.tasks.registry import kind_of

CLASSES_AT = ("image", "map")


@dataclass(frozen=True)
class Wanted:
    """What a multi-task model predicts; by default all that it can.

    Attributes:
        tasks: whose predictions are made; None = of all.
        class_ids: tasks for which ids of classes (H, W) do in the place of scores of all classes (C, H, W).
        classes_at: where these are the classes of the highest scores, one of ``CLASSES_AT``: among the scores at the
            size of the stored image, or among those that the head makes, of which the ids are then resized.
    """

    tasks: frozenset[str] | None = None
    class_ids: frozenset[str] = frozenset()
    classes_at: str = CLASSES_AT[0]

    def has(self, task: str) -> bool:
        """Whether predictions of a task are made."""
        return self.tasks is None or task in self.tasks

    def needs(self, task: str, key: str) -> bool:
        """Whether a head is to predict, for its ``task`` or for another one that shares its ``key`` of the outputs."""
        return self.has(task) or any(kind_of(other).sample_key == key for other in self.tasks or ())


@contextmanager
def predicting(model: nn.Module, wanted: Wanted) -> Iterator[None]:
    """Has a multi-task model make no predictions but those; any other model makes all that it can."""
    before = getattr(model, "wanted", None)
    if not isinstance(before, Wanted):
        yield
        return
    model.wanted = wanted  # type: ignore[assignment]
    try:
        yield
    finally:
        model.wanted = before  # type: ignore[assignment]
