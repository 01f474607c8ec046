"""torch's SyncBN on a CPU: its own passes and collectives, and the five operators written out that GPUs alone have."""

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm

OTHERS = (0, 2, 3)  # all dimensions but that of the channels


def along(x):
    return x.view(1, -1, 1, 1)


def batch_norm_stats(x, eps):
    return x.mean(OTHERS), (x.var(OTHERS, unbiased=False) + eps).rsqrt()


def batch_norm_gather_stats_with_counts(x, means, invstds, running_mean, running_var, momentum, eps, counts):
    shares, whole = counts[:, None] / counts.sum(), counts.sum()
    mean = (means * shares).sum(0)
    var = ((invstds**-2 - eps + (means - mean) ** 2) * shares).sum(0)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(var * whole / (whole - 1), momentum)
    return mean, (var + eps).rsqrt()


def batch_norm_elemt(x, weight, bias, mean, invstd, eps):
    x = (x - along(mean)) * along(invstd)
    return x if weight is None else x * along(weight) + along(bias)


def batch_norm_backward_reduce(gradient, x, mean, invstd, weight, *needed):
    total, moment = gradient.sum(OTHERS), (gradient * (x - along(mean))).sum(OTHERS)
    return total, moment, moment * invstd, total


def batch_norm_backward_elemt(gradient, x, mean, invstd, weight, total, moment, counts):
    whole = counts.sum()
    x = gradient - along(total / whole) - (x - along(mean)) * along(invstd**2 * moment / whole)
    return x * along(invstd if weight is None else invstd * weight)


def forward(self, x):
    """``nn.SyncBatchNorm.forward`` without its refusal of the CPU."""
    state = self.running_mean, self.running_var
    if not self.training or not dist.is_initialized():
        return F.batch_norm(x, *state, self.weight, self.bias, self.training, self.momentum, self.eps)
    group, size = dist.group.WORLD, dist.get_world_size()
    return SyncBatchNorm.apply(x, self.weight, self.bias, *state, self.eps, self.momentum, group, size)


@contextmanager
def sync_batch_norm_on_cpu():
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.SyncBatchNorm, "forward", forward))
        for operator in (
            batch_norm_stats,
            batch_norm_gather_stats_with_counts,
            batch_norm_elemt,
            batch_norm_backward_reduce,
            batch_norm_backward_elemt,
        ):
            stack.enter_context(mock.patch.object(torch, operator.__name__, operator))
        yield
