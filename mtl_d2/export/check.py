"""The check of a file against its network, on images of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.export.comparison import differences
from mtl_d2.export.errors import ExportError
from mtl_d2.export.network import ExportedNetwork, evaluating, tensors
from mtl_d2.export.onnx_file import Run
from mtl_d2.tasks.base import Size

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """An image on which file and network must agree.

    Attributes:
        image: (C, H, W) float32, as the network sees it.
        size: height and width that predictions are to have.
        about: in words.
    """

    image: Array
    size: Size
    about: str


def trials(pictures: Sequence[Array], divisor: int, shape: tuple[int, int, int] | None) -> Iterator[Trial]:
    """What is tried: sizes that need padding and that need none, predictions at other sizes, images of nothing.

    Args:
        pictures: (C, H, W), as the network sees images.
        divisor: sizes are padded to its multiples.
        shape: of the only images that the network takes; None = of any size.
    """
    divisor = max(divisor, 1)
    for k, picture in enumerate(pictures):
        height, width = picture.shape[1:]
        yield Trial(picture, (height, width), f"picture {k + 1}")
    if shape is None and pictures:
        rows, columns = (max(2, -(-side // divisor)) * divisor for side in pictures[0].shape[1:])
        yield Trial(_resized(pictures[0], (rows, columns)), (rows, columns), "without padding")
        odd = (max(1, rows - divisor // 2 - 1), columns + divisor // 2 + 1)
        yield Trial(_resized(pictures[-1], odd), odd, "padded")
        yield Trial(_resized(pictures[0], odd), (odd[0] * 2 + 1, odd[1] + 7), "padded, predictions at another size")
        small = (divisor + 1, 2 * divisor + 1)
        yield Trial(_resized(pictures[-1], small), small, "small")
    like = pictures[0] if pictures else np.zeros(shape or (3, divisor, divisor), np.float32)
    faint = np.random.default_rng(1).normal(0, 3, like.shape)  # of equal pixels all scores would be the same
    for name, value in (("dark", 10), ("grey", 128)):
        empty = (value + faint).astype(np.float32)
        yield Trial(empty, (empty.shape[1], empty.shape[2]), name)


def _resized(picture: Array, size: Size) -> Array:
    return F.interpolate(torch.from_numpy(picture)[None], size=size, mode="bilinear", antialias=True)[0].numpy()


def drawn_pictures(shape: tuple[int, int, int], count: int = 2) -> list[Array]:
    """Coloured rectangles with noise, for where there is no photograph; of equal pixels none is the maximum.

    Args:
        shape: (C, H, W).
        count: of the pictures.
    """
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        picture = random.uniform(60, 120, shape)
        for _ in range(12):
            y, x = (int(random.integers(0, side)) for side in shape[1:])
            h, w = (int(random.integers(1, max(2, side // 2))) for side in shape[1:])
            picture[:, y : y + h, x : x + w] = random.uniform(0, 255, (shape[0], 1, 1))
        pictures.append((picture + random.normal(0, 8, shape)).clip(0, 255).astype(np.float32))
    return pictures


@dataclass(frozen=True)
class Agreement:
    """What a check saw.

    Attributes:
        images: that were tried.
        objects: that the network found on all of them.
        empty: images on which it found none.
    """

    images: int
    objects: int
    empty: int

    def beside(self, other: Agreement) -> Agreement:
        """Both."""
        return Agreement(self.images + other.images, self.objects + other.objects, self.empty + other.empty)


def check(run: Run, network: ExportedNetwork, tried: Sequence[Trial], *, stored_size: bool) -> Agreement:
    """Whether a file agrees with its network on all images.

    Args:
        run: the file.
        network: which the file was made of.
        tried: at least one image.
        stored_size: whether the file takes the size of its predictions.

    Raises:
        ExportError: the file fails on an image, or predicts something else.
    """
    objects, empty = 0, 0
    for trial in tried:
        size = trial.size if stored_size else (trial.image.shape[1], trial.image.shape[2])
        wanted = expected(network, trial.image, size)
        wrong = list(differences(run(trial.image, size), wanted))
        if wrong:
            raise ExportError(
                f"on {trial.about} ({trial.image.shape[1]} x {trial.image.shape[2]}) the file is not the network: "
                f"{'; '.join(wrong)}"
            )
        found = sum(len(values) for name, values in wanted.items() if name.endswith("/boxes"))
        objects, empty = objects + found, empty + (found == 0)
    return Agreement(len(tried), objects, empty)


def expected(network: ExportedNetwork, image: Array, size: Size) -> dict[str, Array]:
    """What the model itself predicts; masks as they are before they are pasted."""
    pixels = torch.from_numpy(image)
    with evaluating(network):
        outputs = network.named(pixels, torch.tensor(size))
        (plain,) = network.model.inference([{"image": pixels, "height": size[0], "width": size[1]}])  # type: ignore[operator]
    own = dict(tensors({key: value for key, value in plain.items() if isinstance(value, Tensor | Instances)}))
    outputs |= {name: value for name, value in own.items() if name in outputs and name not in network.ids}
    return {name: output.numpy() for name, output in outputs.items()}


def padding(model: nn.Module) -> int:
    """What heights and widths are padded to multiples of."""
    return int(getattr(getattr(model, "backbone", None), "size_divisibility", 0)) or 1
