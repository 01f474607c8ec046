"""EfficientNets of torchvision as trunks; ImageNet weights of torchvision load by their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torchvision
from torch import Tensor, nn

from mtl_d2.modeling.backbone.norms import NORMS
from mtl_d2.modeling.backbone.timm_trunk import TimmTrunk, TrunkError
from mtl_d2.modeling.build_once import build_once
from mtl_d2.options import choice, declare, number, wrong_values

NETWORKS = tuple(f"efficientnet_{size}" for size in ("v2_s", "v2_m", "v2_l", *(f"b{k}" for k in range(8))))
OPTIONS = {
    "NAME": choice("efficientnet_v2_s", "one of torchvision's networks", NETWORKS),
    "NORM": choice("BN", "what stands in the place of its batch norms, as for MODEL.TIMM.NORM", tuple(NORMS)),
    "STOCHASTIC_DEPTH": number(
        0.2,
        "probability that the last block is left out for an image in training; that of earlier blocks is in proportion "
        "to their place",
        least=0,
        below=1,
    ),
}
declare("MODEL.EFFICIENTNET", OPTIONS)


class FeatureInfo:
    """Strides and channels of the maps of a network, as timm tells them."""

    def __init__(self, strides: Sequence[int], channels: Sequence[int]) -> None:
        """Args: of each map, in their order."""
        self._strides, self._channels = list(strides), list(channels)

    def reduction(self) -> list[int]:
        """Pixels of the image for each of the map's."""
        return self._strides

    def channels(self) -> list[int]:
        """Of each map."""
        return self._channels


class EfficientNetMaps(nn.Module):
    """The stages of torchvision's network, each of which gives a map; parameters have its names."""

    def __init__(self, name: str, stochastic_depth: float, down_to: int) -> None:
        """Args: a name of ``NETWORKS``; see ``OPTIONS``; stride of the last map, beyond which there are no layers."""
        super().__init__()
        network = torchvision.models.get_model(name, weights=None, stochastic_depth_prob=stochastic_depth)
        stem, *stages, _ = cast(Any, network).features  # the last makes features for classes
        strides, channels = [], []
        stride = stem[0].stride[0]
        for stage in stages:
            stride *= max(max(module.stride) for module in stage.modules() if isinstance(module, nn.Conv2d))
            strides.append(stride)
            channels.append(stage[-1].out_channels)
        kept = sum(one <= down_to for one in strides)
        self.features = nn.Sequential(stem, *stages[:kept])
        self.feature_info = FeatureInfo(strides[:kept], channels[:kept])

    def forward(self, images: Tensor) -> list[Tensor]:
        """The map of each stage, (N, C, H / stride, W / stride), of ``images`` (N, 3, H, W)."""
        stem, *stages = self.features
        features, maps = stem(images), []
        for stage in stages:
            features = stage(features)
            maps.append(features)
        return maps


def build_efficientnet(cfg: Any, channels: int, wanted: Sequence[str]) -> TimmTrunk:
    """The trunk of ``MODEL.EFFICIENTNET`` with ``MODEL.BACKBONE.FREEZE_AT``.

    Args:
        cfg: of the run.
        channels: of the images.
        wanted: names of its maps that are used.

    Returns:
        Trunk with maps ``res1`` (stride 2) ... ``res5`` (stride 32), each the last stage of its stride.

    Raises:
        TrunkError: images have other than 3 channels, or there is no such map.
    """
    options, freeze_at = cfg.MODEL.EFFICIENTNET, cfg.MODEL.BACKBONE.FREEZE_AT
    if channels != 3:
        raise TrunkError(f"MODEL.EFFICIENTNET takes images of 3 channels, MODEL.PIXEL_MEAN has {channels}")
    known = [f"res{k}" for k in range(1, 6)]
    needed = [*wanted, *([f"res{freeze_at}"] if freeze_at else [])]
    missing = sorted(set(needed) - set(known))
    if missing:
        raise TrunkError(
            f"MODEL.FPN.IN_FEATURES {list(wanted)} with MODEL.BACKBONE.FREEZE_AT {freeze_at}: there is no map "
            f"{missing[0]}; there are {', '.join(known)}"
        )
    network = EfficientNetMaps(options.NAME, options.STOCHASTIC_DEPTH, 2 ** max(int(name[3:]) for name in needed))
    return TimmTrunk(network, wanted, freeze_at, options.NORM, channels)


def efficientnet_mistakes(cfg: Any, wanted: Sequence[str]) -> list[str]:
    """Why the trunk cannot be built, if it cannot; no memory and no time is spent on its parameters."""
    if wrong_values(OPTIONS, cfg.MODEL.EFFICIENTNET):
        return []  # they are told with the key
    try:
        build_once(build_efficientnet, cfg, len(cfg.MODEL.PIXEL_MEAN), tuple(wanted))
    except TrunkError as error:
        return [str(error)]
    return []
