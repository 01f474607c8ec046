"""Pairs of tasks that a batch holds, in all processes."""

import torch

from mtl_d2.balancing.exact.batch import Batch, pairs
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import Task

NAMES = ("a", "b", "c")


def test_each_sample_counts_for_the_pairs_among_its_tasks():
    assert pairs([("a", "b", "c"), ("a", "c"), ("b",), (), ("a", "c")], NAMES) == [1, 3, 1]
    assert pairs([], NAMES) == [0, 0, 0]
    assert pairs([("a",)], ("a",)) == []


class Twice(Reduction):
    """Another process has the same numbers."""

    def numbers_of_all(self, numbers):
        return [list(numbers), list(numbers)]


class Model:
    tasks = tuple(Task(name, (f"loss_{name}",), ()) for name in NAMES)

    def batch_images(self, samples):
        return torch.zeros(len(samples), 3, 4, 4)

    def sample_tasks(self, sample):
        return sample["tasks"]


def test_a_batch_counts_the_samples_and_pairs_of_all_processes():
    for accumulate in (1, 2):
        batch = Batch(Model(), Twice(), Precision(), accumulate)
        batch.load([{"tasks": ("a", "b")}, {"tasks": ("a",)}, {"tasks": ("a", "b", "c")}])
        assert (batch.length, batch.pairs) == (6, [4, 2, 2])
        assert batch.present.tolist() == [True, True, True]
