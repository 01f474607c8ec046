"""A network of timm as the whole trunk, without a pyramid; with or without an ASPP that all tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from mtl_d2.modeling.aspp import DROPOUT, RATES, build_aspp
from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.timm_trunk import TimmTrunk, build_trunk, mistakes_of
from mtl_d2.options import declare, whole

declare("MODEL.ASPP", {"CHANNELS": whole(256, "Channels of a trunk's ASPP."), "RATES": RATES, "DROPOUT": DROPOUT})


class ASPPTrunk(Backbone):
    """A network and an ASPP on its last map, which gives the one feature ``aspp``."""

    def __init__(
        self, bottom_up: TimmTrunk, width: int, rates: Sequence[int], dropout: float, norm: str = "BN"
    ) -> None:
        """Args: a trunk with one map; those of ``build_aspp``."""
        super().__init__()
        self.bottom_up = bottom_up
        ((self._map, shape),) = bottom_up.output_shape().items()
        self._shape = ShapeSpec(channels=width, stride=shape.stride)
        self.aspp = build_aspp(int(shape.channels or 0), width, rates, dropout, norm)

    @property
    def size_divisibility(self) -> int:
        """That of the network."""
        return self.bottom_up.size_divisibility

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The feature (N, C, H / stride, W / stride) of images (N, 3, H, W)."""
        return {"aspp": self.aspp(self.bottom_up(x)[self._map])}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Of the feature."""
        return {"aspp": self._shape}

    def last_layers(self, names: Sequence[str]) -> list[nn.Module]:
        """The convolution that projects the branches of the ASPP."""
        return [self.aspp.project[0]]


def build_deepest(cfg: Any, channels: int) -> TimmTrunk:
    """The trunk of ``MODEL.TIMM`` with one map, the one of ``OUTPUT_STRIDE``.

    Raises:
        TrunkError: it cannot be built; the message is one line.
    """
    deepest = f"res{int(log2(cfg.MODEL.TIMM.OUTPUT_STRIDE))}"
    return build_trunk(cfg, channels, [deepest], "the last map")


def _build(cfg: Any, channels: int) -> TimmTrunk:
    wanted = cfg.MODEL.TIMM.OUT_FEATURES
    return build_trunk(cfg, channels, wanted, "MODEL.TIMM.OUT_FEATURES") if wanted else build_deepest(cfg, channels)


def check(cfg: Any) -> list[str]:
    """Of the network."""
    return mistakes_of(cfg, _build)


def check_deepest(cfg: Any) -> list[str]:
    """Of the network under an ASPP."""
    return [*no_choice_of_maps(cfg), *mistakes_of(cfg, build_deepest)]


def no_choice_of_maps(cfg: Any) -> list[str]:
    """A sentence where maps are chosen for a trunk that has its own."""
    wanted = list(cfg.MODEL.TIMM.OUT_FEATURES)
    if not wanted:
        return []
    name = cfg.MODEL.BACKBONE.NAME
    return [
        f"MODEL.TIMM.OUT_FEATURES is {wanted}, which {name} does not follow, whose maps are its own: leave it at []"
    ]


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_timm_backbone(cfg: Any, input_shape: ShapeSpec) -> TimmTrunk:
    """The trunk of ``MODEL.TIMM`` with its maps ``MODEL.TIMM.OUT_FEATURES``.

    Raises:
        TrunkError: it cannot be built; the message is one line.
    """
    return _build(cfg, input_shape.channels)


@BACKBONE_REGISTRY.register()
@checked_by(check_deepest)
def build_timm_aspp_backbone(cfg: Any, input_shape: ShapeSpec) -> ASPPTrunk:
    """The trunk of ``MODEL.TIMM`` and the ASPP of ``MODEL.ASPP`` on its map of ``OUTPUT_STRIDE``, for all tasks.

    Raises:
        TrunkError: it cannot be built; the message is one line.
    """
    options, trunk = cfg.MODEL.ASPP, build_deepest(cfg, input_shape.channels)
    return ASPPTrunk(trunk, options.CHANNELS, options.RATES, options.DROPOUT, cfg.MODEL.TIMM.NORM)
