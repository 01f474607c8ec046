"""The networks that ``benchmark.py`` measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detectron2.modeling.meta_arch import GeneralizedRCNN
from torch import nn


@dataclass(frozen=True)
class Model:
    """A network to measure: its config, what is changed in it, and the batch that it is measured on by default.

    ``plain`` gives detectron2's own model of the same modules, for its SimpleTrainer; where detectron2 has none, as for
    FCOS with a semantic head, ours. ``further`` names tasks that it can be measured with besides.
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


MAPS = ("depth", "normals", "depth/disparity")  # tasks that a pyramid can have besides
RESNET18 = ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64")
RCNN = ("Base-MaskRCNN.yaml", ("DATASETS.TRAIN", "('made-up',)"))
SMALL_RCNN = (
    *RESNET18,
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.ROI_BOX_HEAD.FC_DIM", "64", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32"),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "100", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "32"),
)
DENSE = ("semantic", "depth", "normals")
HEADS = ("SEM_SEG_HEAD", "DEPTH_HEAD", "NORMALS_HEAD")


def segnet(trunk: str, layers: str, *widths: int) -> tuple[str, ...]:
    """Overrides that make a SegNet for NYUv2 of a config: 13 classes, depth and normals, each at full size."""
    head = {"LAYERS": layers, "IN_FEATURES": "['decoder1']", "COMMON_STRIDE": 1, "CONVS_DIM": widths[0], "NORM": ""}
    return (
        *("DATASETS.TRAIN", "('made-up',)", "MODEL.META_ARCHITECTURE", "MultiTaskDense", "MODEL.BACKBONE.NAME", trunk),
        *("MODEL.SEGNET.WIDTHS", str(widths), "MODEL.SEM_SEG_HEAD.NAME", "SemSegMapHead"),
        *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "13", "MTL.DATA.PER_DATASET", "()"),
        *(word for node in HEADS for key, value in head.items() for word in (f"MODEL.{node}.{key}", str(value))),
    )


VGG, NARROW = (64, 128, 256, 512, 512), (8, 16, 32, 32, 32)
SPLIT, MTAN = ("build_segnet_backbone", "split"), ("build_mtan_segnet_backbone", "mtan")
MODELS = {
    "r50": Model("bdd100k_mclgs.yaml", (), (256, 448), 2, further=MAPS),
    "r18": Model("bdd100k_mclgs.yaml", RESNET18, (256, 448), 2, further=MAPS),
    "small": Model("sample_scenes_mclgs.yaml", (), (96, 160), 4, further=MAPS),
    "rcnn-r50": Model(*RCNN, (256, 448), 2, ("detection", "instance"), plain_rcnn),
    "rcnn-small": Model(RCNN[0], RCNN[1] + SMALL_RCNN, (96, 160), 4, ("detection", "instance"), plain_rcnn),
    "segnet": Model("Base-SampleScenes.yaml", segnet(*SPLIT, *VGG), (288, 384), 2, DENSE),
    "segnet-small": Model("Base-SampleScenes.yaml", segnet(*SPLIT, *NARROW), (64, 96), 3, DENSE),
    "mtan": Model("Base-SampleScenes.yaml", segnet(*MTAN, *VGG), (288, 384), 2, DENSE),
    "mtan-small": Model("Base-SampleScenes.yaml", segnet(*MTAN, *NARROW), (64, 96), 3, DENSE),
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
