"""The toy model with labels from two sources, and the formula of its losses."""

import torch
from toy import Toy, batch

from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import LabelSource

WEIGHTS = (0.8, 0.2)
SOURCES = (LabelSource("", WEIGHTS[0]), LabelSource("pseudo/", WEIGHTS[1]))


class TaughtToy(Toy):
    """A sample's ``true`` and ``taught`` are the tasks that it has a label for from each source."""

    def __init__(self, num_tasks=2):
        super().__init__(num_tasks)
        self.tasks = tuple(task.with_sources(SOURCES) for task in self.tasks)

    def sample_sources(self, sample, task):
        return task in sample["true"], task in sample["taught"]

    def task_losses(self, task, features, samples, reduction):
        terms = {}
        for k, (source, target) in enumerate(zip(SOURCES, ("target", "pseudo/target"), strict=True)):
            rows = [n for n, s in enumerate(samples) if self.sample_sources(s, task)[k]]
            chosen = [{**samples[n], "target": samples[n][target]} for n in rows]
            own = super().task_losses(task, {name: f[rows] for name, f in features.items()}, chosen, reduction)
            terms |= {source.prefix + key: value for key, value in own.items()}
        return terms


def taught_toy(num_tasks=2, dtype=torch.float64):
    torch.manual_seed(0)
    return TaughtToy(num_tasks).to(dtype)


def taught_batch(*pairs, seed=1):
    """Samples with a pair each: the tasks with ground truth, and those with pseudo labels."""
    samples = batch(*(tuple(dict.fromkeys((*true, *taught))) for true, taught in pairs), seed=seed)
    targets = batch(*pairs, seed=seed + 1)
    return [
        {**s, "true": true, "taught": taught, "pseudo/target": other["target"], "position": i}
        for i, (s, other, (true, taught)) in enumerate(zip(samples, targets, pairs, strict=True))
    ]


def formula(model, samples, task):
    """w_gt times the mean over samples with ground truth plus w_pseudo times the mean over those with pseudo labels."""
    loss = torch.zeros((), dtype=torch.float64)
    for weight, has, target in zip(WEIGHTS, ("true", "taught"), ("target", "pseudo/target"), strict=True):
        chosen = [{**s, "target": s[target]} for s in samples if task in s[has] and task in s["tasks"]]
        if chosen:
            features = model.shared_features(model.batch_images(chosen))
            loss = loss + weight * sum(Toy.task_losses(model, task, features, chosen, Reduction()).values())
    return loss
