"""BiFPN, the pyramid that goes down and up several times, over a network of timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.timm_fpn import gaps
from mtl_d2.modeling.backbone.timm_trunk import build_trunk, trunk_mistakes
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.options import Option, choice, declare, whole

EPSILON = 1e-4  # the paper's
declare(
    "MODEL.BIFPN",
    {
        "REPEATS": whole(3, "how often it goes down and up (D_bifpn; 3 in EfficientDet-D0, 2 in Samsung's networks)"),
        "OUT_CHANNELS": whole(64, "channels of every level (W_bifpn)"),
        "LEVELS": whole(
            5,
            "levels in all, from the finest of MODEL.FPN.IN_FEATURES on: 5 from res3 on are p3-p7; those beyond the "
            "trunk's maps are made by pooling",
        ),
        "FUSION": choice(
            "fast",
            "how the inputs of a node are added: `fast` with weights that it learns (fast normalized fusion), `sum` "
            "without",
            ("fast", "sum"),
        ),
        "NORM": Option(
            "GN",
            "norm behind each convolution, by detectron2's names; GN has up to 8 groups; the paper has BN",
            "a text",
            lambda value: isinstance(value, str),
        ),
    },
)


class Node(nn.Module):
    """Adds maps of one size and makes one of them: swish, depthwise 3x3 convolution, 1x1 convolution, norm."""

    def __init__(self, inputs: int, channels: int, norm: Any, weighted: bool) -> None:
        """Args as the class says.

        Args:
            inputs: how many maps it adds.
            channels: of each.
            norm: as detectron2's ``get_norm`` takes it.
            weighted: whether it learns how much each counts.
        """
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs)) if weighted else None
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=norm == "")
        self.norm = get_norm(norm, channels) or nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, C, H, W) of as many of the same shape."""
        if self.weights is None:
            total = torch.stack(list(maps)).sum(dim=0)
        else:
            weights = self.weights.relu()
            shares = weights / (weights.sum() + EPSILON)
            total = torch.stack([share * level for share, level in zip(shares, maps, strict=True)]).sum(dim=0)
        return self.norm(self.pointwise(self.depthwise(F.silu(total))))


class BiFPN(Backbone):
    """A pyramid over a trunk whose levels pass on to each other, down and up, several times.

    Paper: Tan, Pang, Le, EfficientDet: Scalable and Efficient Object Detection, CVPR 2020,
        https://arxiv.org/abs/1911.09070, section 3.3, for each level l but the first and the last:
        P_l_td = node(P_l_in, up(P_{l+1}_td)),   P_l_out = node(P_l_in, P_l_td, down(P_{l-1}_out)),
        node(x_1 ... x_n) = conv(sum_i w_i x_i / (eps + sum_j w_j)) with w_i >= 0 by a ReLU, eps = 1e-4.
    Differs from: the paper in the order, swish before the convolution as in its authors' code, and in one norm per
        node behind both convolutions. ``fusion`` "sum" has no weights, as in Yun and Cho, Achievement-based
        Training Progress Balancing for Multi-Task Learning, ICCV 2023, whose way up is an inverted bottleneck instead.

    The last nodes of the levels are called ``fpn_output3`` ... as in detectron2's FPN.
    """

    def __init__(
        self,
        trunk: Backbone,
        in_features: Sequence[str],
        *,
        channels: int,
        levels: int,
        repeats: int,
        norm: Any = "BN",
        weighted: bool = True,
    ) -> None:
        """Args as the keys of ``MODEL.BIFPN`` have them.

        Args:
            trunk: gives maps by name.
            in_features: those that it stands on, fine to coarse, strides doubling.
            channels: of each level.
            levels: as many as ``in_features`` or more.
            repeats: how often it goes down and up.
            norm: as detectron2's ``get_norm`` takes it.
            weighted: fast normalized fusion, or plain sums.
        """
        super().__init__()
        shapes = trunk.output_shape()
        finest = int(log2(shapes[in_features[0]].stride))
        self.bottom_up = trunk
        self.in_features = tuple(in_features)
        self.repeats = repeats
        self._stages = tuple(range(finest, finest + levels))
        self._channels = channels
        self._size_divisibility = shapes[in_features[-1]].stride
        for stage in self._stages[: len(in_features) + 1]:  # of the levels beyond, the first has a convolution
            name = in_features[min(stage - finest, len(in_features) - 1)]
            lateral = Conv2d(
                shapes[name].channels, channels, kernel_size=1, bias=norm == "", norm=get_norm(norm, channels)
            )
            self.add_module(f"lateral{stage}", lateral)
        for repeat in range(repeats):
            for stage in self._stages:
                inputs = 2 if stage in (self._stages[0], self._stages[-1]) else 3
                self.add_module(self._output_name(stage, repeat), Node(inputs, channels, norm, weighted))
            for stage in self._stages[1:-1]:
                self.add_module(f"down{stage}_{repeat}", Node(2, channels, norm, weighted))

    def _output_name(self, stage: int, repeat: int) -> str:
        return f"fpn_output{stage}" if repeat == self.repeats - 1 else f"up{stage}_{repeat}"

    @property
    def size_divisibility(self) -> int:
        """Stride of the trunk's coarsest map; levels above it round their size up."""
        return self._size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (N, C, H / stride, W / stride) of ``images`` (N, 3, H, W) by level, p3 ... p7."""
        maps = self._inputs(self.bottom_up(images))
        for repeat in range(self.repeats):
            maps = self._down_and_up(maps, repeat)
        return {f"p{stage}": maps[stage] for stage in self._stages}

    def _inputs(self, features: Mapping[str, Tensor]) -> dict[int, Tensor]:
        maps: dict[int, Tensor] = {}
        for place, stage in enumerate(self._stages):
            if place < len(self.in_features):
                maps[stage] = self.get_submodule(f"lateral{stage}")(features[self.in_features[place]])
            elif place == len(self.in_features):
                maps[stage] = halved(self.get_submodule(f"lateral{stage}")(features[self.in_features[-1]]))
            else:
                maps[stage] = halved(maps[stage - 1])
        return maps

    def _down_and_up(self, maps: Mapping[int, Tensor], repeat: int) -> dict[int, Tensor]:
        first, *inner, last = self._stages
        down = {last: maps[last]}
        for stage in reversed(inner):
            node = self.get_submodule(f"down{stage}_{repeat}")
            down[stage] = node([maps[stage], enlarged(down[stage + 1], maps[stage])])
        node = self.get_submodule(self._output_name(first, repeat))
        up = {first: node([maps[first], enlarged(down[first + 1], maps[first])])}
        for stage in (*inner, last):
            node = self.get_submodule(self._output_name(stage, repeat))
            between = [] if stage == last else [down[stage]]
            up[stage] = node([maps[stage], *between, halved(up[stage - 1])])
        return up

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level."""
        return {f"p{stage}": ShapeSpec(channels=self._channels, stride=2**stage) for stage in self._stages}


def halved(features: Tensor) -> Tensor:
    """(N, C, ceil(H / 2), ceil(W / 2)) of (N, C, H, W), by the maximum of 3 by 3."""
    return F.max_pool2d(features, 3, stride=2, padding=1)


def enlarged(features: Tensor, like: Tensor) -> Tensor:
    """A map at the size of another, by its nearest values."""
    return F.interpolate(features, size=like.shape[-2:], mode="nearest")


def check(cfg: Any) -> list[str]:
    """Of the trunk, and of the levels."""
    names, levels = cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.BIFPN.LEVELS
    if isinstance(levels, int) and levels < max(2, len(names)):
        return [f"MODEL.BIFPN.LEVELS must be at least 2, and the {len(names)} of MODEL.FPN.IN_FEATURES, got {levels}"]
    return gaps(names) or trunk_mistakes(cfg)


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_timm_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> BiFPN:
    """The trunk of ``MODEL.TIMM`` and a BiFPN over its maps ``MODEL.FPN.IN_FEATURES``.

    Raises:
        TrunkError: the trunk cannot be built; the message is one line.
    """
    names, options = cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.BIFPN
    return BiFPN(
        build_trunk(cfg, input_shape.channels, names),
        names,
        channels=options.OUT_CHANNELS,
        levels=options.LEVELS,
        repeats=options.REPEATS,
        norm=narrow_norm(options.NORM),
        weighted=options.FUSION == "fast",
    )
