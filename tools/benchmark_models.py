"""The networks that ``benchmark.py`` measures, one of them with a third task of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.modeling.meta_arch.fcos import MultiTaskFCOS
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import Task

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


@dataclass(frozen=True)
class Model:
    """A network to measure: its config, what is changed in it, and the batch that it is measured on by default.

    ``plain`` gives detectron2's own model of the same modules, for its SimpleTrainer; where detectron2 has none, as for
    FCOS with a semantic head, ours. ``further`` names tasks that ``ThreeTaskFCOS`` adds.
    """

    config: str
    overrides: tuple[str, ...]
    size: tuple[int, int]  # height, width
    batch: int
    tasks: tuple[str, ...] = ("detection", "semantic")
    plain: Callable[[Any], nn.Module] = lambda model: model
    further: tuple[str, ...] = ()


def plain_rcnn(model: Any) -> nn.Module:
    """detectron2's Mask R-CNN over the modules of a ``MultiTaskRCNN``."""
    own = {name: getattr(model, name) for name in ("backbone", "proposal_generator", "roi_heads")}
    mean, std = model.pixel_mean.flatten().tolist(), model.pixel_std.flatten().tolist()
    return GeneralizedRCNN(**own, pixel_mean=mean, pixel_std=std).to(model.device)


RESNET18 = ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64")
RCNN = ("Base-MaskRCNN.yaml", ("DATASETS.TRAIN", "('made-up',)"))
SMALL_RCNN = (
    *RESNET18,
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.ROI_BOX_HEAD.FC_DIM", "64", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32"),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "100", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "32"),
)
MODELS = {
    "r50": Model("bdd100k_mclgs.yaml", (), (256, 448), 2, further=(DEPTH.name,)),
    "r18": Model("bdd100k_mclgs.yaml", RESNET18, (256, 448), 2, further=(DEPTH.name,)),
    "small": Model("sample_scenes_mclgs.yaml", (), (96, 160), 4, further=(DEPTH.name,)),
    "rcnn-r50": Model(*RCNN, (256, 448), 2, ("detection", "instance"), plain_rcnn),
    "rcnn-small": Model(RCNN[0], RCNN[1] + SMALL_RCNN, (96, 160), 4, ("detection", "instance"), plain_rcnn),
    "lenet": Model("multi_mnist_equal.yaml", (), (36, 36), 256, ("class_left", "class_right")),
}


@dataclass(frozen=True)
class Setting:
    """What all variants of one run have in common.

    Attributes:
        model: a key of ``MODELS``.
        size: height and width of the images in pixels.
        batch: number of images.
        tasks: T; the first T of the model's tasks and of its ``further`` ones.
        device: "cpu" or "cuda".
    """

    model: str
    size: tuple[int, int]
    batch: int
    tasks: int
    device: str
