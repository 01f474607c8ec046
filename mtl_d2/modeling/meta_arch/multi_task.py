"""What every multi-task meta-architecture has in common, whatever its heads are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import log2
from typing import Any, cast

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_d2.balancing.reduction import Reduction
from mtl_d2.tasks import Task, available_tasks, head_parameters


class MultiTaskMixin:
    """Adds to a detectron2 meta-architecture what ``mtl_d2.balancing`` asks of a model.

    The host class gives ``tasks``, ``task_losses``, ``preprocess_image`` and ``inference`` as detectron2 has them, and
    a ``backbone`` that all tasks share.
    """

    tasks: tuple[Task, ...]
    training: bool
    backbone: Any
    preprocess_image: Callable[[list[dict]], Any]
    inference: Callable[..., Any]
    task_levels: Callable[[], dict[str, list[str]]]
    task_losses: Callable[[str, dict[str, Tensor], list[dict], Reduction], dict[str, Tensor]]

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """One sentence for each thing in ``cfg`` that this model cannot do."""
        return []

    def forward(self, batched_inputs: list[dict]) -> Any:
        """Loss terms by name in training; in evaluation a list of dicts with ``instances`` and ``sem_seg``."""
        return self.training_losses(batched_inputs) if self.training else self.inference(batched_inputs)

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, 3, H, W) normalized images, padded to the largest and to a multiple of the pyramid's stride."""
        return self.preprocess_image(samples).tensor

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Tasks that supervise a mapped sample: those it says in ``tasks``, else those it has labels for."""
        names = tuple(task.name for task in self.tasks)
        if "tasks" in sample:
            return tuple(name for name in names if name in sample["tasks"])
        return available_tasks(sample, names)

    def shared_features(self, images: Tensor) -> dict[str, Tensor]:
        """The pyramid of ``images`` ((N, 3, H, W)) by level name."""
        return self.backbone(images)

    def mixes_samples(self) -> bool:
        """Whether the trunk has a batch norm that takes its statistics from the batch."""
        return any(isinstance(m, _BatchNorm) and m.training for m in self.backbone.modules())

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The output convolutions of the pyramid levels that two heads or more look at."""
        used = Counter(level for levels in self.task_levels().values() for level in levels)
        strides = {level: shape.stride for level, shape in self.backbone.output_shape().items()}
        convolutions = [
            getattr(self.backbone, f"fpn_output{int(log2(strides[level]))}", None)
            for level in sorted(used)
            if used[level] > 1
        ]
        return [p for module in convolutions if module is not None for p in module.parameters()]

    def training_losses(self, samples: list[dict]) -> dict[str, Tensor]:
        """All loss terms of a batch, for any trainer that sums them; a task without samples has zeros with a graph.

        Raises:
            ValueError: no sample of the batch has a label of any task.
        """
        supervised = [self.sample_tasks(sample) for sample in samples]
        if not any(supervised):
            files = ", ".join(str(sample.get("file_name", "?")) for sample in samples)
            raise ValueError(f"no sample of the batch has a label of any of the tasks {self.task_names()}: {files}")
        samples = [{**sample} for sample in samples]  # heads may keep in them what belongs to this pass
        features = self.shared_features(self.batch_images(samples))
        losses: dict[str, Tensor] = {}
        for task in self.tasks:
            own = [i for i, names in enumerate(supervised) if task.name in names]
            if own:
                chosen = features if len(own) == len(samples) else {k: f[own] for k, f in features.items()}
                losses.update(self.task_losses(task.name, chosen, [samples[i] for i in own], Reduction()))
            else:
                attached = torch.stack([p.sum() for p in head_parameters(cast(nn.Module, self), task)]).sum() * 0
                losses.update(dict.fromkeys(task.loss_keys, attached))
        return losses

    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in their order."""
        return tuple(task.name for task in self.tasks)
