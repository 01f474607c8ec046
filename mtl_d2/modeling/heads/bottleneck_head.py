"""The light detection head of mobile networks: one inverted bottleneck for classes and one for boxes, on each level."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from mtl_d2.modeling.bottleneck import norm_layer, output_bottleneck


class BottleneckHead(nn.Module):
    """Logits and box deltas as detectron2's ``RetinaNetHead`` gives them; levels share no parameter.

    Paper: the detection head of Yun, Cho, Achievement-based training progress balancing for multi-task learning, ICCV
        2023.
    Differs from: nothing with the norm "BN", which also stands behind the last convolution there; other norms do not,
        since they would take from each image its own mean.
    """

    def __init__(
        self, levels: Sequence[ShapeSpec], *, num_classes: int, num_anchors: int, norm: str, prior_prob: float
    ) -> None:
        """Args as the keys of ``MODEL.RETINANET`` have them.

        Args:
            levels: channels and stride of each.
            num_classes: background not counted.
            num_anchors: at each point of a level.
            norm: by detectron2's names; "" for none.
            prior_prob: initial probability of each class at each anchor.
        """
        super().__init__()
        layer = norm_layer(norm)
        channels, prior = [level.channels for level in levels], -log((1 - prior_prob) / prior_prob)
        self.classes = nn.ModuleList(output_bottleneck(c, num_anchors * num_classes, layer, prior) for c in channels)
        self.boxes = nn.ModuleList(output_bottleneck(c, num_anchors * 4, layer) for c in channels)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (N, A K, H, W) and deltas (N, A 4, H, W) of each of the levels (N, C, H, W)."""
        return tuple(  # type: ignore[return-value]
            [layers(level) for layers, level in zip(branch, features, strict=True)]
            for branch in (self.classes, self.boxes)
        )
