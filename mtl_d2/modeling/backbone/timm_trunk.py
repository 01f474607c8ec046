"""Networks of timm as trunks: the maps of their stages by stride, frozen stages, other norms."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from math import log2
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from mtl_d2.calls import CallError, parse_call
from mtl_d2.modeling.backbone.norms import NORMS, frozen, has_batch_norm
from mtl_d2.modeling.build_once import build_once
from mtl_d2.options import Option, choice, declare, wrong_values

OPTIONS = {
    "NAME": Option(
        "",
        "a network of timm's (`timm.list_models()`) that gives maps, with further arguments where it needs them: "
        "`swin_tiny_patch4_window7_224(strict_img_size=False)`",
        "a text",
        lambda value: isinstance(value, str),
    ),
    "NORM": choice(
        "BN",
        "what stands in the place of its batch norms: `BN` leaves them; `FrozenBN` fixes statistics, scale and "
        "shift; `GN` has up to 8 groups and does not mix samples; `SyncBN` has the statistics of all "
        "processes, as `naiveSyncBN_N` on CPUs",
        tuple(NORMS),
    ),
    "OUTPUT_STRIDE": Option(
        32,
        "stride of its last map: below 32 its last stages are dilated in place of strided, where timm has it",
        "8, 16 or 32",
        lambda value: value in (8, 16, 32),
    ),
    "OUT_FEATURES": Option(
        [],
        "maps that heads look at where there is no pyramid: `res2`, ...; none = the one of OUTPUT_STRIDE",
        "a list of texts",
        lambda value: all(isinstance(name, str) for name in value),
    ),
}
declare("MODEL.TIMM", OPTIONS)
OF_WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")  # arguments of timm's


class TrunkError(ValueError):
    """A trunk that cannot be built as the config has it; the message is one line."""


class TimmTrunk(Backbone):
    """A network of timm whose maps are called ``res1`` (stride 2), ``res2`` (stride 4), ... as in detectron2.

    Where several stages have one stride (dilation), the name is that of the last of them.
    """

    def __init__(
        self, network: nn.Module, wanted: Sequence[str], freeze_at: int = 0, norm: str = "BN", channels: int = 3
    ) -> None:
        """Args as the keys of the config have them.

        Args:
            network: timm's, made with ``features_only``.
            wanted: names of the maps that ``forward`` gives, which it has.
            freeze_at: all that ``res1`` ... ``res{freeze_at}`` depend on is fixed, batch norms included; 0 = nothing.
            norm: a key of ``NORMS``, for what is not fixed.
            channels: of the images.

        Raises:
            TrunkError: its maps have other sizes than their strides say.
        """
        super().__init__()
        self.network = network
        self._place = map_places(network)
        info: Any = network.feature_info
        self._strides = {name: int(info.reduction()[place]) for name, place in self._place.items()}
        self._channels = {name: int(info.channels()[place]) for name, place in self._place.items()}
        self._out_features = list(wanted)
        training = network.training
        maps = self._probe(channels)
        network.train(training)
        self._maps_channels_last = self._come_channels_last(maps)
        self._freeze(freeze_at, maps)
        NORMS[norm](network)

    def _probe(self, channels: int) -> Mapping[str, Tensor]:
        """All maps of a black image of 3 by 5 of the coarsest of them, in evaluation mode."""
        weight = next(self.network.parameters())
        coarsest = max(32, *self._strides.values())
        maps = self.network.eval()(weight.new_zeros(1, channels, 3 * coarsest, 5 * coarsest))
        return {name: maps[place] for name, place in self._place.items()}

    def _come_channels_last(self, maps: Mapping[str, Tensor]) -> bool:
        """Whether maps come as (N, H, W, C).

        Raises:
            TrunkError: they come as something else.
        """
        coarsest = max(32, *self._strides.values())
        last = []
        for name, output in maps.items():
            c, h, w = self._channels[name], *(side * coarsest // self._strides[name] for side in (3, 5))
            if tuple(output.shape) not in ((1, c, h, w), (1, h, w, c)):
                raise TrunkError(f"its map {name} has the shape {tuple(output.shape)} where {(1, c, h, w)} is needed")
            last.append(tuple(output.shape) == (1, h, w, c))
        return all(last)

    def _freeze(self, freeze_at: int, maps: Mapping[str, Tensor]) -> None:
        """Fixes what the first maps depend on, and what no wanted map depends on."""
        first = [name for name in maps if int(name.removeprefix("res")) <= freeze_at]
        fixed = self._reached([maps[name] for name in first])
        fixed |= set(self.network.parameters()) - self._reached([maps[name] for name in self._out_features])
        for parameter in fixed:
            parameter.requires_grad_(False)
        for name, module in list(self.network.named_modules()):
            parameters = list(module.parameters(recurse=False))
            if has_batch_norm(module) and parameters and set(parameters) <= fixed:
                parent, _, leaf = name.rpartition(".")
                setattr(self.network.get_submodule(parent), leaf, frozen(module))

    def _reached(self, maps: Sequence[Tensor]) -> set[nn.Parameter]:
        """The parameters that ``maps`` depend on."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        total = [feature_map.sum() for feature_map in maps if feature_map.requires_grad]
        if not total:
            return set()
        gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        return {p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The wanted maps (N, C, H / stride, W / stride) of ``images`` (N, 3, H, W) by name."""
        maps = self.network(images)
        wanted = {name: maps[self._place[name]] for name in self._out_features}
        if self._maps_channels_last:
            return {name: feature_map.permute(0, 3, 1, 2).contiguous() for name, feature_map in wanted.items()}
        return wanted

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each wanted map."""
        return {
            name: ShapeSpec(channels=self._channels[name], stride=self._strides[name]) for name in self._out_features
        }

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest map that it computes."""
        return max(self._strides.values())

    def last_layers(self, names: Sequence[str]) -> list[nn.Module]:
        """The last convolution or linear layer of the network, which ends with its deepest map."""
        layers: list[nn.Module] = [m for m in self.network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return layers[-1:]


def map_places(network: Any) -> dict[str, int]:
    """Where in what ``network`` gives the map of each name is: the last one of its stride.

    Raises:
        TrunkError: a stride is no power of two.
    """
    places = {}
    for place, stride in enumerate(network.feature_info.reduction()):
        if stride < 1 or int(stride).bit_count() != 1 or stride != int(stride):
            raise TrunkError(f"its maps have strides {network.feature_info.reduction()}, not powers of two")
        places[f"res{int(log2(stride))}"] = place
    return {name: place for name, place in places.items() if name != "res0"}


def create_network(cfg: Any, channels: int, places: Sequence[int] | None = None) -> nn.Module:
    """A network of timm's with random parameters that gives maps, as ``MODEL.TIMM`` has it.

    Args:
        cfg: of the run.
        channels: of the images.
        places: of the maps that it gives, as timm counts them; None = all.

    Raises:
        TrunkError: there is no such network, or timm cannot build it so; nearest names are given.
    """
    import timm  # see norms.py

    options = cfg.MODEL.TIMM
    try:
        call = parse_call(options.NAME)
    except CallError as error:
        hint = "; pretrained weights are MODEL.WEIGHTS', so leave timm's tag out" if "." in str(options.NAME) else ""
        raise TrunkError(f"MODEL.TIMM.NAME: {error}{hint}") from error
    known = timm.list_models()
    if call.name not in known:
        near = difflib.get_close_matches(call.name, known, n=3, cutoff=0.4)
        guess = f"; near are {', '.join(near)}" if near else ""
        raise TrunkError(f"MODEL.TIMM.NAME is {options.NAME!r}, which is none of timm's {len(known)} networks{guess}")
    if call.args:
        raise TrunkError(f"MODEL.TIMM.NAME is {options.NAME!r}: write its arguments with their names")
    if not call.kwargs.keys().isdisjoint(OF_WEIGHTS):  # which timm would download
        raise TrunkError(
            f"MODEL.TIMM.NAME is {options.NAME!r}: weights are named by MODEL.WEIGHTS, leave them out here"
        )
    stride: dict[str, Any] = {} if options.OUTPUT_STRIDE == 32 else {"output_stride": options.OUTPUT_STRIDE}
    chosen: dict[str, Any] = {} if places is None else {"out_indices": tuple(places)}
    try:
        return timm.create_model(call.name, features_only=True, in_chans=channels, **stride, **chosen, **call.kwargs)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, AttributeError) as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        where = f" with MODEL.TIMM.OUTPUT_STRIDE {options.OUTPUT_STRIDE}" if stride else ""
        raise TrunkError(f"timm cannot build MODEL.TIMM.NAME {options.NAME!r} to give maps{where}: {said}") from error


def build_trunk(cfg: Any, channels: int, wanted: Sequence[str], option: str = "MODEL.FPN.IN_FEATURES") -> TimmTrunk:
    """The trunk of ``MODEL.TIMM`` with ``MODEL.BACKBONE.FREEZE_AT``.

    Args:
        cfg: of the run.
        channels: of the images.
        wanted: names of its maps that are used.
        option: the key that says which they are.

    Raises:
        TrunkError: in one line, why it cannot be built.
    """
    freeze_at, norm = cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.TIMM.NORM
    needed = {*wanted, *([f"res{freeze_at}"] if freeze_at else [])}
    with torch.device("meta"):
        whole = create_network(cfg, channels)
    if norm != "BN" and not has_batch_norm(whole):
        raise TrunkError(
            f"MODEL.TIMM.NORM {norm!r} takes the place of batch norms, and {cfg.MODEL.TIMM.NAME} has none: set it to "
            "'BN', which leaves its norms"
        )
    keys = f"MODEL.TIMM.NAME {cfg.MODEL.TIMM.NAME!r} with {option} {list(wanted)}"
    keys += f", MODEL.BACKBONE.FREEZE_AT {freeze_at} and MODEL.TIMM.OUTPUT_STRIDE {cfg.MODEL.TIMM.OUTPUT_STRIDE}"
    try:
        return TimmTrunk(create_network(cfg, channels, _down_to(needed, whole)), wanted, freeze_at, norm, channels)
    except TrunkError as error:
        raise TrunkError(f"{keys}: {error}") from error
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:  # of its forward pass
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise TrunkError(f"MODEL.TIMM.NAME {cfg.MODEL.TIMM.NAME!r} does not take images of any size: {said}") from error


def _down_to(names: Collection[str], whole: Any) -> Sequence[int]:
    """Places of the maps of a network down to the deepest of ``names``: what is below would be computed for nobody.

    Raises:
        TrunkError: it has no map of one of the names.
    """
    places = map_places(whole)
    missing = sorted(set(names) - set(places))
    if missing:
        raise TrunkError(f"there is no map {missing[0]}; there are {', '.join(places)}")
    return whole.feature_info.out_indices[: max(places[name] for name in names) + 1]


def trunk_mistakes(cfg: Any) -> list[str]:
    """Why the trunk of a pyramid on the maps ``MODEL.FPN.IN_FEATURES`` cannot be built, if it cannot."""
    return mistakes_of(cfg, _under_a_pyramid)


def _under_a_pyramid(cfg: Any, channels: int) -> TimmTrunk:
    return build_trunk(cfg, channels, cfg.MODEL.FPN.IN_FEATURES)


def mistakes_of(cfg: Any, build: Callable[[Any, int], object]) -> list[str]:
    """Why a trunk of ``MODEL.TIMM`` cannot be built, if it cannot; its parameters cost no memory and no time.

    Args:
        cfg: of the run.
        build: builds it by a config, for images of so many channels; see ``build_once``.
    """
    if wrong_values(OPTIONS, cfg.MODEL.TIMM):
        return []  # they are told with the key
    try:
        build_once(build, cfg, len(cfg.MODEL.PIXEL_MEAN))
    except TrunkError as error:
        return [str(error)]
    return []
