"""Small networks show a trainer's overhead: updates of LeNet against loops that hold the data as one tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from benchmark_batches import make_batch
from benchmark_variants import JOINT, MCLGS, Bench, Variant, build_cfg
from detectron2.engine import TrainerBase
from torch import Tensor
from torch.nn import functional as F

from mtl_d2.balancing import Oracle
from mtl_d2.data.memory import MemoryLoader, MemorySamples
from mtl_d2.data.sampler import RankBatches, ShuffledStream, Union

BATCHES = 8  # that the data set holds
SPLIT = ["MTL.STEP.NAME", "split"]
EVERY = ["MTL.GRADIENT.EXACT_EVERY", "1"]


class BareLoop(TrainerBase):
    """What one would write for two tasks in a notebook: indexed tensors, a forward pass, ``step``, no log."""

    def __init__(self, bench: Bench, backward: Callable[[BareLoop, Tensor], None]) -> None:
        """Args: ``bench`` has the model; ``backward`` fills every ``.grad`` from the (T,) losses."""
        super().__init__()
        self.model, self.optimizer, self.backward = bench.model, bench.optimizer, backward
        device = bench.setting.device
        records = make_records(bench)
        self.images = torch.stack([record["image"] for record in records]).to(device)
        self.labels = torch.tensor([[r[task.name] for r in records] for task in bench.model.tasks]).to(device)
        self.batch = bench.setting.batch
        self.order = torch.randperm(len(records), device=device)
        oracle = Oracle(bench.model)
        self.shared, self.heads = oracle.shared, oracle.heads
        self.model.train()

    def run_step(self) -> None:
        """One update."""
        start = self.iter * self.batch % len(self.order)
        chosen = self.order[start : start + self.batch]
        images = (self.images[chosen] - self.model.pixel_mean) / self.model.pixel_std
        features = self.model.backbone(images)
        heads = zip(self.model.heads.values(), self.labels, strict=True)
        losses = torch.stack([F.cross_entropy(head(features), own[chosen]) for head, own in heads])
        self.optimizer.zero_grad()
        self.backward(self, losses)
        self.optimizer.step()
        losses.detach().cpu()  # as every loop that shows its losses


def backward_once(loop: BareLoop, losses: Tensor) -> None:
    """Of the sum of the losses."""
    losses.sum().backward()


def backward_tasks(loop: BareLoop, losses: Tensor) -> None:
    """One for each task, flat rows, their cosines, and a mean of the rows with weights tanh(cos) + 1."""
    rows = []
    for loss, own in zip(losses, loop.heads, strict=True):
        found = torch.autograd.grad(loss, [*loop.shared, *own], retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in found[: len(loop.shared)]]))
        for parameter, gradient in zip(own, found[len(loop.shared) :], strict=True):
            parameter.grad = gradient / len(losses)
    jacobian = torch.stack(rows)
    units = F.normalize(jacobian)
    weights = (torch.tanh(units @ units.T) + 1).fill_diagonal_(0).sum(1) / (len(rows) - 1)
    combined = weights @ jacobian / len(rows)
    parts = combined.split([p.numel() for p in loop.shared])
    for parameter, part in zip(loop.shared, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def make_records(bench: Bench) -> list[dict]:
    """Records that hold images of random content, for ``BATCHES`` batches."""
    setting = replace(bench.setting, batch=BATCHES * bench.setting.batch)
    return make_batch(build_cfg(bench.setting, []), setting, disjoint=False)


def our_loop(variant: Variant, bench: Bench) -> TrainerBase:
    """Our loop with our loader."""
    records = make_records(bench)
    samples = MemorySamples(records, [task.name for task in bench.model.tasks])
    order = Union(ShuffledStream(len(records), 0), 1)
    return bench.loop(variant, MemoryLoader(samples, RankBatches(order, bench.setting.batch)))


def _ours(about: str, reference: str, overrides: list[str]) -> Variant:
    variant = Variant(about, reference, overrides=overrides)
    return replace(variant, build=partial(our_loop, variant))


BARE = {
    "bare": Variant("bare PyTorch, one backward", "bare", build=lambda bench: BareLoop(bench, backward_once)),
    "ours-joint": _ours("our loop and loader, equal weights", "bare", JOINT),
    "bare-tasks": Variant(
        "bare PyTorch, a backward for each task", "bare-tasks", build=lambda bench: BareLoop(bench, backward_tasks)
    ),
    "ours-mclgs": _ours("our loop and loader, MCLGS, exact", "bare-tasks", MCLGS),
    "ours-split": _ours("the split step, equal weights", "ours-joint", [*JOINT, *SPLIT]),
    "ours-split-tasks": _ours("the same, with the gradient of each task", "ours-joint", [*JOINT, *SPLIT, *EVERY]),
}
