"""Layers that make a map of a trunk's features, by name: what a head of pixels has between the trunk and its loss.

Such layers are a module whose ``forward`` makes of features by name a map (N, C, h, w), one number for each pixel and
channel before any loss. It has ``in_features``, the names that it looks at; ``common_stride``, pixels of the image for
each of the map's; and ``predictor``, its last convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from fvcore.common.registry import Registry
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.aspp import DROPOUT, RATES
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.modeling.precision import not_half
from mtl_d2.options import Option, choice, whole
from mtl_d2.tasks.base import Size, TaskKind
from mtl_d2.tasks.options import option_key, task_options

MAP_LAYERS = Registry("MAP_LAYERS")
Shapes = Mapping[str, ShapeSpec]
Builder = Callable[[Any, Shapes, int], nn.Module]
NO_ASPP = ("ASPP_RATES", "ASPP_DROPOUT")  # keys that layers without an ASPP do not follow
BATCH_NORM_ALONE = ("NORM", *NO_ASPP)

LAYERS_OPTION = Option(
    "fpn",
    'Layers of the head, see docs/dense_networks.md: "fpn" are Panoptic FPN\'s; "split" a 3x3 and a 1x1 convolution; '
    '"segnet" a SegNet decoder of the task\'s own; "mtan" attention to a SegNet, "mtan_deeplabv3" to a ResNet; '
    '"deeplabv3" ASPP and convolutions, "after_aspp" these convolutions alone; "bifpn" the dense head of the '
    "achievement paper; or layers of one's own.",
)
ASPP_OPTIONS = {"ASPP_RATES": RATES, "ASPP_DROPOUT": DROPOUT}  # of heads whose layers have an ASPP
LOSS_SIZE = choice(
    "image",
    'Where the loss is taken: "image", of the output resized to the image; "map", of the output as the layers give it, '
    "against every COMMON_STRIDE-th pixel of the label.",
    ("image", "map"),
)
LAYERS_OPTIONS = {  # of heads that make numbers; those of classes are detectron2's
    "LAYERS": LAYERS_OPTION,
    "IN_FEATURES": Option(["p2", "p3", "p4", "p5"], "Features that the head looks at."),
    "CONVS_DIM": whole(128, "Channels of its convolutions."),
    "COMMON_STRIDE": whole(4, "Pixels of the image for each of its map's, which is resized afterwards."),
    "NORM": Option("GN", 'Normalization of its convolutions: "", "GN", "BN", "SyncBN", ...'),
    "LOSS_SIZE": LOSS_SIZE,
    **ASPP_OPTIONS,
}


@runtime_checkable
class LooksIntoTrunk(Protocol):
    """Layers that use modules of the trunk, which are shared."""

    def look_into(self, trunk: nn.Module) -> None:
        """Is called once, when the model is built; what is kept of ``trunk`` must not become a submodule."""


def map_layers(name: str, not_followed: Sequence[str] = ()) -> Callable[[Builder], Builder]:
    """A decorator that registers what builds layers of this ``name``.

    It is called with a head's node of the config, the features' shapes, and the number of channels of the map.

    Args:
        name: for ``LAYERS``.
        not_followed: keys of ``LAYERS_OPTIONS`` that mean nothing to these layers; set, they are refused.
    """

    def register(builder: Builder) -> Builder:
        MAP_LAYERS._do_register(name, builder)
        vars(builder)["not_followed"] = tuple(not_followed)
        return builder

    return register


def build_map_layers(options: Any, shapes: Shapes, channels: int) -> nn.Module:
    """The layers that a head's node of the config names.

    Args:
        options: with ``LAYERS``, ``IN_FEATURES``, ``CONVS_DIM``, ``COMMON_STRIDE`` and ``NORM``.
        shapes: of the trunk's features.
        channels: of the map.

    Raises:
        ValueError: they cannot be built on these features, or are of another stride.
    """
    layers = MAP_LAYERS.get(options.LAYERS)(options, shapes, channels)
    require(layers, options.LAYERS, "in_features", "common_stride")
    if layers.common_stride != options.COMMON_STRIDE:
        raise ValueError(
            f"COMMON_STRIDE of a head must be the stride of its layers, which is {layers.common_stride} of "
            f"{options.LAYERS!r} on {', '.join(options.IN_FEATURES)}, got {options.COMMON_STRIDE}"
        )
    return layers


def require(layers: Any, name: str, *attributes: str) -> None:
    """Says what layers of one's own lack.

    Raises:
        ValueError: they have not all of ``attributes``.
    """
    missing = [attribute for attribute in attributes if not hasattr(layers, attribute)]
    if missing:
        raise ValueError(
            f"what LAYERS {name!r} build, {type(layers).__name__}, has no {' and no '.join(map(repr, missing))}: "
            "docs/dense_networks.md says under 'Layers of one's own' what they are"
        )


def check_layers(cfg: Any, kind: TaskKind) -> Iterator[str]:
    """Whether there are layers of the name that a task's options have, and what they make of the other options."""
    options = task_options(cfg, kind)
    names, levels = tuple(known for known, _ in MAP_LAYERS), list(options.IN_FEATURES)
    if options.LAYERS not in names:
        yield unknown(option_key(cfg, kind, "LAYERS"), options.LAYERS, names)
    else:
        yield from _not_followed(cfg, kind)
    if not levels:
        yield f"{option_key(cfg, kind, 'IN_FEATURES')} is empty; name a feature of MODEL.BACKBONE.NAME"
    for level in sorted({level for level in levels if levels.count(level) > 1}):
        yield f"{option_key(cfg, kind, 'IN_FEATURES')} names {level!r} twice: leave one out"


def _not_followed(cfg: Any, kind: TaskKind) -> Iterator[str]:
    """Keys that would have no effect on the layers; norms that they have anyway may be named."""
    options = task_options(cfg, kind)
    for key in getattr(MAP_LAYERS.get(options.LAYERS), "not_followed", ()):
        default, value = LAYERS_OPTIONS[key].default, options[key]
        same = (default, "", "BN") if key == "NORM" else (default,)
        if (tuple(value) if isinstance(value, list) else value) not in same:
            have = "; they have batch norm" if key == "NORM" else ""
            yield (
                f"{option_key(cfg, kind, key)} is {value!r}, which LAYERS {options.LAYERS!r} do not follow{have}: "
                "leave it out, or choose other LAYERS"
            )


def the_feature(options: Any) -> str:
    """The one feature that layers on a single map look at.

    Raises:
        ValueError: there are several, or none.
    """
    if len(options.IN_FEATURES) != 1:
        raise ValueError(
            f"IN_FEATURES of a head with LAYERS {options.LAYERS!r} must be one feature, got {list(options.IN_FEATURES)}"
        )
    return options.IN_FEATURES[0]


def at_image_size(output: Tensor, stride: int) -> Tensor:
    """A map (N, C, h, w) at the size of the padded images, bilinear, in float32 at least."""
    output = not_half(output)
    if stride == 1:
        return output
    return F.interpolate(output, scale_factor=stride, mode="bilinear", align_corners=False)


def at_stored_size(values: Tensor, of_image: Size, size: Size) -> Tensor:
    """detectron2's ``sem_seg_postprocess``, of which an exported graph makes fewer copies.

    Args:
        values: (C, H, W), of the padded image.
        of_image: height and width of the image as the network sees it, without padding.
        size: height and width as stored.

    Returns:
        (C, *size), bilinear.
    """
    shown = values.unsqueeze(0)[..., : of_image[0], : of_image[1]]
    return F.interpolate(shown, size=size, mode="bilinear", align_corners=False).flatten(0, 1)


def every(target: Tensor, stride: int) -> Tensor:
    """Of labels (..., H, W) the pixel in the middle of each square of ``stride`` pixels."""
    return target[..., stride // 2 :: stride, stride // 2 :: stride]


class FPNLayers(SemSegFPNHead):
    """The layers of detectron2's Panoptic-FPN head (Kirillov et al., https://arxiv.org/abs/1901.02446) alone."""

    def __init__(self, input_shape: Shapes, channels: int, **layers: Any) -> None:
        """Args: of the pyramid's levels; of the map; ``layers`` as ``SemSegFPNHead`` has them."""
        super().__init__(dict(input_shape), num_classes=channels, ignore_value=0, **layers)

    def forward(self, features: dict[str, Tensor], targets: None = None) -> Tensor:
        """The map (N, C, h, w)."""
        return self.layers(features)


@map_layers("fpn", NO_ASPP)
def build_fpn_layers(options: Any, shapes: Shapes, channels: int) -> FPNLayers:
    """Panoptic FPN's."""
    return FPNLayers(
        {name: shapes[name] for name in options.IN_FEATURES},
        channels,
        conv_dims=options.CONVS_DIM,
        common_stride=options.COMMON_STRIDE,
        norm=narrow_norm(options.NORM),
    )


class SplitLayers(nn.Module):
    """A 3x3 and a 1x1 convolution, with nothing but a norm between them.

    Paper: the heads of SegNet-Split and MTAN (Liu, Johns, Davison, CVPR 2019, https://arxiv.org/abs/1803.10704), whose
    code has no activation between the two.
    """

    def __init__(self, feature: str, shape: ShapeSpec, width: int, channels: int, norm: str = "") -> None:
        """Args: name and shape of the feature; channels between the two convolutions and of the map; ``norm``."""
        super().__init__()
        self.in_features, self.common_stride = (feature,), int(shape.stride or 1)
        named = narrow_norm(norm)
        self.convolution = Conv2d(
            int(shape.channels or 0), width, 3, padding=1, bias=not norm, norm=get_norm(named, width)
        )
        self.predictor = Conv2d(width, channels, 1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        return self.predictor(self.convolution(features[self.in_features[0]]))


@map_layers("split", NO_ASPP)
def build_split_layers(options: Any, shapes: Shapes, channels: int) -> SplitLayers:
    """On the one feature of ``IN_FEATURES``."""
    feature = the_feature(options)
    return SplitLayers(feature, shapes[feature], options.CONVS_DIM, channels, options.NORM)
