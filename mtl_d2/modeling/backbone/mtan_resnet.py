"""A ResNet as the trunk of MTAN: besides its maps it holds the bottlenecks of the attention that all tasks share.

Paper: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
https://arxiv.org/abs/1803.10704; the network is that of the authors' code (``MTANDeepLabv3``), not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.norms import NORMS
from mtl_d2.modeling.backbone.timm_plain import build_deepest, no_choice_of_maps
from mtl_d2.modeling.backbone.timm_trunk import TimmTrunk, TrunkError, mistakes_of

STAGES = (1, 2, 3, 4)
ATTENDED = tuple(f"{kind}{stage}" for stage in STAGES for kind in ("before", "stage"))


class MTANResNet(Backbone):
    """The maps ``before1``, ``stage1``, ..., ``stage4`` of a ResNet: before and after the last block of each stage.

    Attributes:
        attention_blocks: ``stage1`` ... ``stage3``: what a task's attended map goes through to the next stage. The
            trunk itself does not use them; the layers of each task do, all the same ones.
    """

    def __init__(self, bottom_up: TimmTrunk, norm: str = "BN") -> None:
        """Args: a ResNet of timm's; a key of ``NORMS``, for the blocks.

        Raises:
            TrunkError: it is none, or has a stage of one block, before which there is no map of the stage.
        """
        super().__init__()
        self.bottom_up = bottom_up
        stages = [layers for name, layers in self._children() if name.startswith("layer")]
        lengths = [len(layers) if isinstance(layers, nn.Sequential) else 0 for layers in stages]
        if len(stages) != len(STAGES) or min(lengths) < 2:
            raise TrunkError(
                "the trunk of MTAN must be a ResNet of timm's whose layer1 ... layer4 have two blocks or more, got "
                f"{', '.join(name for name, _ in self._children())} with {lengths} blocks"
            )
        info: Any = bottom_up.network.feature_info
        self._channels, self._strides = info.channels()[-len(STAGES) :], info.reduction()[-len(STAGES) :]
        pairs = zip(STAGES, pairwise(self._channels), strict=False)
        self.attention_blocks = nn.ModuleDict(
            {f"stage{stage}": NORMS[norm](_bottleneck(before, after)) for stage, (before, after) in pairs}
        )

    def _children(self) -> list[tuple[str, nn.Module]]:
        return list(self.bottom_up.network.named_children())

    @property
    def size_divisibility(self) -> int:
        """Maps of all stages are to fit each other."""
        return max(self._strides)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The maps of images (N, 3, H, W)."""
        maps: dict[str, Tensor] = {}
        for name, layers in self._children():
            if name.startswith("layer"):
                stage, blocks = name.removeprefix("layer"), list(layers.children())
                for block in blocks[:-1]:
                    x = block(x)
                maps[f"before{stage}"] = x
                x = maps[f"stage{stage}"] = blocks[-1](x)
            else:
                x = layers(x)
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Of all maps."""
        shapes = zip(STAGES, self._channels, self._strides, strict=True)
        return {
            f"{kind}{stage}": ShapeSpec(channels=channels, stride=stride)
            for stage, channels, stride in shapes
            for kind in ("before", "stage")
        }

    def last_layers(self, names: Sequence[str]) -> list[nn.Module]:
        """The last convolution of the ResNet."""
        return self.bottom_up.last_layers(names)


def _bottleneck(inputs: int, outputs: int) -> Bottleneck:
    projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    return Bottleneck(inputs, outputs // Bottleneck.expansion, downsample=projection)


def check(cfg: Any) -> list[str]:
    """Of the ResNet."""
    return [*no_choice_of_maps(cfg), *mistakes_of(cfg, _build)]


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_mtan_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> MTANResNet:
    """The ResNet of ``MODEL.TIMM``, for heads with LAYERS "mtan_deeplabv3".

    Raises:
        TrunkError: the trunk cannot be built; the message is one line.
    """
    return _build(cfg, input_shape.channels)


def _build(cfg: Any, channels: int) -> MTANResNet:
    return MTANResNet(build_deepest(cfg, channels), cfg.MODEL.TIMM.NORM)
