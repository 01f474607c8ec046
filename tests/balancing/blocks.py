"""The toy with parameters that heads alone reach, and more than one of them, as in MTAN."""

import torch
from torch import nn
from toy import NAMES, Toy

from mtl_d2.tasks.task import Task


class Blocks(Toy):
    """Head k looks through a ``mask`` that all heads name, and all but the last through ``loose``, which none names."""

    def __init__(self, num_tasks=2):
        super().__init__(num_tasks)
        self.mask, self.loose = nn.Linear(3, 3), nn.Linear(3, 3)
        self.tasks = tuple(Task(t, (f"loss_{t}",), (f"heads.{t}", "mask")) for t in NAMES[:num_tasks])

    def task_losses(self, task, features, samples, reduction):
        seen = {name: f * torch.sigmoid(self.mask(f)) for name, f in features.items()}
        if task != self.tasks[-1].name:
            seen = {name: f + self.loose(f).tanh() for name, f in seen.items()}
        return super().task_losses(task, seen, samples, reduction)


def blocks(num_tasks=2):
    torch.manual_seed(3)
    return Blocks(num_tasks).double()
