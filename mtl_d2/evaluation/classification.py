"""Accuracies of tasks that classify a whole image."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from statistics import harmonic_mean
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mtl_d2.evaluation.tools import Tool


class ClassificationEvaluator(DatasetEvaluator):
    """Share of images whose class was found, for each task in percent, and the harmonic mean of these.

    A sample carries its label under the name of the task; outputs are those of ``MultiTaskClassifier``.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        """Args: names of ``tasks``."""
        self._tasks = tuple(tasks)
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._right: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Counts one batch; a sample without a task's label is not counted for it, one without an answer is wrong."""
        for sample, output in zip(inputs, outputs, strict=True):
            for task in self._tasks:
                if task in sample:
                    self._seen[task] += 1
                    self._right[task] += output.get(task) == sample[task]

    def evaluate(self) -> OrderedDict | None:
        """``{"accuracy": {task: percent, ..., "harmonic_mean": percent}}`` over all processes, on the first one."""
        counts = comm.gather((self._right, self._seen))
        if not comm.is_main_process():
            return None
        right, seen = Counter[str](), Counter[str]()
        for own_right, own_seen in counts:
            right.update(own_right)
            seen.update(own_seen)
        accuracies = {task: 100.0 * right[task] / seen[task] for task in self._tasks if seen[task]}
        if accuracies:
            accuracies["harmonic_mean"] = harmonic_mean(list(accuracies.values()))
        return OrderedDict(accuracy=accuracies)


ACCURACY = Tool(
    "the accuracy",
    lambda name, kinds, folder: ClassificationEvaluator([kind.task for kind in kinds]),
    "look at its class ids",
)
