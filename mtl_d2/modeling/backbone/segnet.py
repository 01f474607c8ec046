"""SegNet as a trunk: the convolutions of VGG-16 with batch norm, and a decoder that unpools what they pooled.

Paper: Badrinarayanan, Kendall, Cipolla, "SegNet", TPAMI 2017, https://arxiv.org/abs/1511.00561; in the shapes of Liu,
Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019, https://arxiv.org/abs/1803.10704.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import make_layers

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.options import Option, declare
from mtl_d2.tasks.options import option_key, task_options
from mtl_d2.tasks.registry import is_known, kinds_of

Layers = TypeVar("Layers", bound=nn.Module)
STAGES = (1, 2, 3, 4, 5)
# What a stage can give: the map after its first convolution, after its last one, pooled, and the places of the maxima;
# the unpooled map of the decoder, and what its convolutions make of it.
KINDS = ("first", "last", "pool", "indices", "unpool", "decoder")
FEATURES = tuple(f"{kind}{stage}" for kind in KINDS for stage in STAGES)
IN_DECODER = ("unpool", "decoder")
CHANNELS = 3  # of images

declare(
    "MODEL.SEGNET",
    {
        "WIDTHS": Option(
            (64, 128, 256, 512, 512),
            "Channels of its five stages; the default is VGG-16, whose ImageNet weights fit.",
            "5 whole numbers >= 1",
            lambda value: len(value) == len(STAGES) and all(isinstance(n, int) and n >= 1 for n in value),
        ),
        "OUT_FEATURES": Option(
            ["decoder1"],
            "Features that the heads look at: `decoder1` is the shared decoder's last map; `pool5` and `indices5` ... "
            "`indices1` are what decoders of the tasks' own need, and there is no shared one then.",
        ),
    },
)


def convolutions(stage: int) -> int:
    """How many convolutions stage 1 ... 5 has, as in VGG-16."""
    return 2 if stage <= 2 else 3


def normalized(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU."""
    layers = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    return initialized(layers)


def initialized(layers: Layers) -> Layers:
    """``layers`` with the weights that SegNets begin with in MTAN's code: Xavier's, and biases of 0."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers


class SegNetEncoder(nn.Module):
    """The convolutions of VGG-16 with batch norm, by the names of torchvision's."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Args: ``widths``, channels of the five stages."""
        super().__init__()
        plan: list[str | int] = []
        for stage in STAGES:
            plan += [widths[stage - 1]] * convolutions(stage) + ["M"]
        self.features = initialized(make_layers(plan, batch_norm=True))
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        self._stages = tuple(map(tuple, _divided(self.features)))  # in tuples, which do not name parameters once more

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """All features of images (N, 3, H, W), those of the decoder left out."""
        maps: dict[str, Tensor] = {}
        for stage, (first, others, pooling) in zip(STAGES, self._stages, strict=True):
            x = maps[f"first{stage}"] = first(x)
            x = maps[f"last{stage}"] = others(x)
            x, maps[f"indices{stage}"] = pooling(x)
            maps[f"pool{stage}"] = x
        return maps

    def recomputed_blocks(self) -> list[nn.Module]:
        """The first layer of each stage, and its others; see ``mtl_d2.modeling.recompute``."""
        return [block for first, others, _ in self._stages for block in (first, others)]


def _divided(layers: nn.Sequential) -> Iterator[tuple[nn.Module, nn.Module, nn.Module]]:
    """Of each stage: its first convolution with norm and ReLU, the others, and its pooling."""
    begin = 0
    for end, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            yield layers[begin : begin + 3], layers[begin + 3 : end], layer
            begin = end + 1


class SegNetDecoder(nn.Module):
    """Unpools the deepest map stage by stage, from 5 to ``until``, with as many convolutions as the encoder has."""

    def __init__(self, widths: Sequence[int], until: int = 1) -> None:
        """Args: ``widths`` of the encoder's stages; the last stage, whose map has the stride 2^(until - 1)."""
        super().__init__()
        self.until = until
        for stage in STAGES[until - 1 :]:
            outputs = widths[max(stage - 2, 0)]
            layers = [normalized(widths[stage - 1], outputs)]
            layers += [normalized(outputs, outputs) for _ in range(convolutions(stage) - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(*layers))
        self.channels = outputs_of(widths)[until]

    def recomputed_blocks(self) -> list[nn.Module]:
        """Its stages; see ``mtl_d2.modeling.recompute``."""
        return list(self.children())

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps ``unpool5``, ``decoder5``, ..., of the encoder's ``pool5`` and ``indices5`` ..."""
        maps, x = {}, features["pool5"]
        for stage in reversed(STAGES[self.until - 1 :]):
            x = maps[f"unpool{stage}"] = F.max_unpool2d(x, features[f"indices{stage}"], [2, 2], [2, 2])
            x = maps[f"decoder{stage}"] = self.get_submodule(f"stage{stage}")(x)
        return maps


def outputs_of(widths: Sequence[int]) -> dict[int, int]:
    """Channels of each stage of the decoder."""
    return {stage: widths[max(stage - 2, 0)] for stage in STAGES}


class SegNet(Backbone):
    """A SegNet without a predictor.

    Its encoder is ``bottom_up``, so that weights of torchvision's VGG-16 with batch norm load by their order, and
    ``SOLVER.BACKBONE_LR_FACTOR`` is for them.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512), wanted: Sequence[str] = ("decoder1",)) -> None:
        """Args: ``widths``, channels of the five stages; ``wanted``, names of ``FEATURES``."""
        super().__init__()
        self._widths, self._out_features = tuple(widths), list(wanted)
        self.bottom_up = SegNetEncoder(widths)
        decoded = [_stage(name) for name in wanted if name[:-1] in IN_DECODER]
        self.decoder = SegNetDecoder(widths, min(decoded)) if decoded else None

    @property
    def size_divisibility(self) -> int:
        """Every pooling halves all that there is."""
        return 2 ** len(STAGES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The wanted features of images (N, 3, H, W); ``indices`` are integers."""
        maps = self.bottom_up(x)
        if self.decoder is not None:
            maps |= self.decoder(maps)
        return {name: maps[name] for name in self._out_features}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Of the wanted features."""
        return {name: self._shape(name) for name in self._out_features}

    def _shape(self, name: str) -> ShapeSpec:
        stage, pooled = _stage(name), name[:-1] in ("pool", "indices")
        width = outputs_of(self._widths)[stage] if name[:-1] == "decoder" else self._widths[stage - 1]
        return ShapeSpec(channels=width, stride=2 ** (stage if pooled else stage - 1))

    def last_layers(self, names: Sequence[str]) -> list[nn.Module]:
        """The last convolution that the heads share: the decoder's, or without one the encoder's."""
        shared = self.bottom_up if self.decoder is None else self.decoder.get_submodule(f"stage{self.decoder.until}")
        layers: list[nn.Module] = [layer for layer in shared.modules() if isinstance(layer, nn.Conv2d)]
        return layers[-1:]


def _stage(name: str) -> int:
    return int(name[-1])


def check(cfg: Any) -> list[str]:
    """Names of features that there are not, and what ``check_images`` says."""
    key, wanted = "MODEL.SEGNET.OUT_FEATURES", cfg.MODEL.SEGNET.OUT_FEATURES
    mistakes = check_images(cfg)
    if not wanted or isinstance(wanted, str):
        return [*mistakes, f"{key} must be a list of names, such as ['decoder1'], got {wanted!r}"]
    mistakes += [unknown(key, name, FEATURES) for name in wanted if name not in FEATURES]
    mistakes += [
        f"{option_key(cfg, kind, 'IN_FEATURES')} names {name!r}, the places of a pooling's maxima, which are for "
        "LAYERS 'segnet' with IN_FEATURES ['pool5']: name a map"
        for kind in kinds_of(filter(is_known, cfg.MTL.TASKS))
        if kind.options
        for name in task_options(cfg, kind).get("IN_FEATURES", ())
        if name.startswith("indices")
    ]
    mistakes += [f"{key} names {name!r} twice: leave one out" for name in FEATURES if list(wanted).count(name) > 1]
    return mistakes


def check_images(cfg: Any) -> list[str]:
    """What a SegNet of either kind does not do."""
    mistakes, frozen = [], cfg.MODEL.BACKBONE.FREEZE_AT
    if len(cfg.MODEL.PIXEL_MEAN) != CHANNELS:
        mistakes.append(
            f"{cfg.MODEL.BACKBONE.NAME} takes images of {CHANNELS} channels, MODEL.PIXEL_MEAN has "
            f"{len(cfg.MODEL.PIXEL_MEAN)}: give it {CHANNELS} numbers, and INPUT.FORMAT 'RGB' or 'BGR'"
        )
    if frozen:
        mistakes.append(
            f"MODEL.BACKBONE.FREEZE_AT is {frozen}, which {cfg.MODEL.BACKBONE.NAME} does not follow, all of it learns: "
            "set it to 0"
        )
    return mistakes


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_segnet_backbone(cfg: Any, input_shape: ShapeSpec) -> SegNet:
    """The SegNet of ``MODEL.SEGNET``."""
    return SegNet(cfg.MODEL.SEGNET.WIDTHS, cfg.MODEL.SEGNET.OUT_FEATURES)
