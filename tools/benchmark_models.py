"""What ``benchmark.py`` measures beside the project's own: a third task, and TorchJD's update."""

from __future__ import annotations

import time
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.engine import SimpleTrainer
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import Tensor, nn
from torch.nn import functional as F
from torchjd.aggregation import IMTLG
from torchjd.autojac import jac_to_grad, mtl_backward

from mtl_d2.balancing.jacobian import total
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.modeling.meta_arch.fcos import MultiTaskFCOS
from mtl_d2.tasks import Task, head_parameters, shared_parameters

TASKS = ("detection", "semantic", "depth")
DEPTH = Task("depth", ("loss_depth",), ("depth_head",))


@META_ARCH_REGISTRY.register()
class ThreeTaskFCOS(MultiTaskFCOS):
    """MultiTaskFCOS and a head like the semantic one with a single output, for figures of three tasks.

    It regresses the mean of the image's colours: what the target is does not matter for what an update costs.
    """

    depth_head: Any

    @configurable
    def __init__(self, *, tasks: tuple[str, ...], depth_head: nn.Module, **kwargs: Any) -> None:
        """Args: the third head; the others are those of ``MultiTaskFCOS``."""
        super().__init__(tasks=tasks[:2], **kwargs)
        self.depth_head = depth_head
        self.tasks = (*self.tasks, DEPTH)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__``."""
        options = super().from_config(cfg)
        one_output = cfg.clone()
        one_output.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1
        return {**options, "depth_head": SemSegFPNHead(one_output, options["backbone"].output_shape())}

    def task_losses(
        self, task: str, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """See ``MultiTaskModel``."""
        if task != DEPTH.name:
            return super().task_losses(task, features, samples, reduction)
        found = F.interpolate(self.depth_head.layers(features).float(), scale_factor=4, mode="bilinear")
        images = torch.stack([sample["image"] for sample in samples]).to(found.device)
        target = images.float().mean(1, keepdim=True) / 255
        return {"loss_depth": F.l1_loss(found[..., : target.shape[-2], : target.shape[-1]], target)}

    def task_levels(self) -> dict[str, list[str]]:
        """The pyramid levels that each head looks at."""
        dense = list(self.depth_head.in_features)
        return {"detection": list(self.head_in_features), "semantic": dense, "depth": dense}


class TorchJDTrainer(SimpleTrainer):
    """TorchJD's ``mtl_backward`` and an aggregator of its Gramian, with all that saves it work."""

    def run_step(self) -> None:
        """One update; every image has to have all labels."""
        start = time.perf_counter()
        samples = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        model = self.model
        # Copies, or what p6 pulls at p5 would count twice.
        features = {k: f.view_as(f) for k, f in model.shared_features(model.batch_images(samples)).items()}
        terms = [model.task_losses(task.name, features, samples, Reduction()) for task in model.tasks]
        self.optimizer.zero_grad()
        shared = shared_parameters(model, model.tasks)
        heads = [head_parameters(model, task) for task in model.tasks]
        losses = [total(own) for own in terms]
        mtl_backward(losses, features=list(features.values()), tasks_params=heads, shared_params=shared)
        jac_to_grad(shared, IMTLG(), optimize_gramian_computation=True)
        self._write_metrics({name: value for own in terms for name, value in own.items()}, data_time)
        self.optimizer.step()
