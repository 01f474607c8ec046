"""A BiFPN without weights, whose way down only adds and whose way up has convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from mtl_d2.modeling.backbone.bifpn import enlarged
from mtl_d2.modeling.bottleneck import inverted_bottleneck, norm_layer


class SumBiFPN(Backbone):
    """A pyramid over a trunk whose levels pass on to each other, down and up, several times, by sums.

    Paper: Yun, Cho, Achievement-based training progress balancing for multi-task learning, ICCV 2023, whose code calls
        it TRIV2-BiFPN. With x_l the 1x1 convolutions of the trunk's maps, or the outputs of the time before:
        td_l = x_l + up(td_{l+1}),   P_l = td_l + MBConv_l(P_{l-1}),
        where td of the coarsest level and P of the finest are x and td themselves, ``up`` repeats each value 2 x 2
        times, and MBConv is an inverted bottleneck of stride 2.
    Differs from: nothing; BiFPN of EfficientDet (``BiFPN``) has weights, and convolutions in every node.

    The last convolutions of the levels are called ``fpn_output4`` ... as in detectron2's FPN; the finest level has none
    of its own.
    """

    def __init__(
        self, trunk: Backbone, in_features: Sequence[str], *, channels: int, repeats: int, norm: str = "BN"
    ) -> None:
        """Args as the keys of ``MODEL.BIFPN`` have them.

        Args:
            trunk: gives maps by name.
            in_features: those that it stands on, fine to coarse, strides doubling.
            channels: of each level.
            repeats: how often it goes down and up.
            norm: by detectron2's names, ``GN`` with up to 8 groups; "" for none.
        """
        super().__init__()
        shapes = trunk.output_shape()
        self.bottom_up = trunk
        self.in_features = tuple(in_features)
        self.repeats = repeats
        self._channels = channels
        self._strides = {f"p{int(log2(shapes[name].stride))}": int(shapes[name].stride) for name in in_features}
        self._stages = tuple(int(log2(stride)) for stride in self._strides.values())
        layer = norm_layer(norm)
        for stage, name in zip(self._stages, in_features, strict=True):
            lateral = Conv2dNormActivation(
                shapes[name].channels, channels, 1, norm_layer=layer, activation_layer=nn.ReLU6
            )
            self.add_module(f"lateral{stage}", lateral)
        for repeat in range(repeats):
            for stage in self._stages[1:]:
                self.add_module(self._name(stage, repeat), inverted_bottleneck(channels, channels, layer, stride=2))

    def _name(self, stage: int, repeat: int) -> str:
        return f"fpn_output{stage}" if repeat == self.repeats - 1 else f"up{stage}_{repeat}"

    @property
    def size_divisibility(self) -> int:
        """Stride of the coarsest level."""
        return max(self._strides.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (N, C, H / stride, W / stride) of ``images`` (N, 3, H, W) by level, such as p3, p4, p5."""
        features = self.bottom_up(images)
        maps = {
            stage: self.get_submodule(f"lateral{stage}")(features[name])
            for stage, name in zip(self._stages, self.in_features, strict=True)
        }
        for repeat in range(self.repeats):
            for stage in reversed(self._stages[:-1]):
                maps[stage] = maps[stage] + enlarged(maps[stage + 1], maps[stage])
            for stage in self._stages[1:]:
                maps[stage] = maps[stage] + self.get_submodule(self._name(stage, repeat))(maps[stage - 1])
        return dict(zip(self._strides, maps.values(), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level."""
        return {level: ShapeSpec(channels=self._channels, stride=stride) for level, stride in self._strides.items()}
