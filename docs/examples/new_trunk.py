"""A trunk of one's own, ``build_octave_backbone``: convolutions of doubling stride, no pyramid on top.

See docs/adding_a_model.md.
"""

from __future__ import annotations

from typing import Any

from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.norm import group_norm
from mtl_d2.options import Option, declare, whole

declare(
    "MODEL.OCTAVE",
    {
        "CHANNELS": whole(32, "channels of every level"),
        "LEVELS": Option(("p2", "p3"), "levels that it gives, fine to coarse: p2 has stride 4", "a list of names"),
    },
)


class Octave(Backbone):
    """Levels ``p1``, ``p2``, ... of stride 2, 4, ..., each a convolution of stride 2 over the one before."""

    def __init__(self, in_channels: int, channels: int, levels: tuple[str, ...]) -> None:
        """Args as the keys of ``MODEL.OCTAVE``; ``in_channels`` are those of the images."""
        super().__init__()
        self._levels, self._channels = levels, channels
        for stage in range(1, max(map(stage_of, levels)) + 1):
            convolution = Conv2d(
                in_channels if stage == 1 else channels,
                channels,
                kernel_size=3,
                stride=2,
                padding=1,
                norm=group_norm(channels),
                activation=nn.functional.relu,
            )
            self.add_module(f"fpn_output{stage}", convolution)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (N, CHANNELS, H / stride, W / stride) of ``images`` (N, 3, H, W) by level."""
        found, x = {}, images
        for name, convolution in self.named_children():
            x = convolution(x)
            found[f"p{name.removeprefix('fpn_output')}"] = x
        return {level: found[level] for level in self._levels}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level."""
        return {level: ShapeSpec(channels=self._channels, stride=2 ** stage_of(level)) for level in self._levels}

    @property
    def size_divisibility(self) -> int:
        """Images are padded to multiples of the coarsest stride."""
        return 2 ** max(map(stage_of, self._levels))


def stage_of(level: str) -> int:
    """2 of ``p2``."""
    return int(level.removeprefix("p"))


def check(cfg: Any) -> list[str]:
    """The names of the levels."""
    levels = cfg.MODEL.OCTAVE.LEVELS
    if levels and all(level.startswith("p") and level[1:].isdigit() and stage_of(level) > 0 for level in levels):
        return []
    return [f"MODEL.OCTAVE.LEVELS must be levels such as 'p2', got {tuple(levels)}"]


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_octave_backbone(cfg: Any, input_shape: ShapeSpec) -> Octave:
    """The trunk of ``MODEL.OCTAVE``."""
    options = cfg.MODEL.OCTAVE
    return Octave(input_shape.channels, options.CHANNELS, tuple(options.LEVELS))
