"""Files of depth and of surface normals: arrays at addresses and images, in the encodings in which they are published.

Images are opened by a handle and loaded before they are turned; see ``mtl_d2.data.images``. OpenCV cannot read a TIFF
that lies on its side at all.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from mtl_d2.data.addresses import names_array, shrinking
from mtl_d2.data.arrays import channels_last, one_channel, read_array, unreadable
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import UNREADABLE, upright
from mtl_d2.data.shrunk import shrunk_map

Array = npt.NDArray[Any]
CAMERA_AXES = "+x +y +z"
UNIT_LENGTHS = (0.9, 1.1)  # of stored normals: the mean of several is shorter, and 8 bits and JPEG are not exact
# Grey, which is 0 but for rounding, and black, which is as long as no unit vector, are no label in pictures of normals.
PICTURED_LENGTHS = (0.5, 1.5)
LEVELS = np.arange(1 << 16, dtype=np.uint16)


class DenseLabel(NamedTuple):
    """A map with a value for each pixel.

    Attributes:
        values: (H, W) or (H, W, 3) float32; all 0 = no label.
        odd: number of pixels whose stored value cannot be: not finite, a negative depth, a normal that is no unit
            vector. Of those, normals keep their direction; the others have no label.
    """

    values: Array
    odd: int


@dataclass(frozen=True)
class Encoding:
    """How stored numbers become depth: ``(stored - offset) * scale / divisor``; stored 0 = no label.

    Attributes:
        scale: unit of the depth per unit of what is stored.
        offset: what is subtracted first.
        divisor: where a scale of 1 / divisor would round otherwise.
        rotated: bits that numbers of 16 bits are to be rotated to the right by, first of all.
        most: farther depths are that far.
        kinds: numpy's kinds of numbers that a file in this encoding has.
        bytes: that such a number has at least.
    """

    scale: float
    offset: float = 0.0
    divisor: float = 1.0
    rotated: int = 0
    most: float = math.inf
    kinds: str = "fiu"
    bytes: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether depth is what is stored."""
        return self == replace(Encoding(1.0), kinds=self.kinds, bytes=self.bytes)

    def numbers(self, stored: Array) -> Array:
        """As they were before bits were rotated; floats of 64 bits, or what is stored where nothing is computed."""
        if self.rotated:
            stored = stored.astype(np.uint16)
            stored = (stored >> self.rotated) | (stored << (16 - self.rotated))
        return stored if self.is_plain and stored.dtype == np.float32 else stored.astype(np.float64)

    def depth(self, numbers: Array) -> Array:
        """Of positive numbers; not below 0."""
        if self.is_plain:
            return numbers
        return np.minimum(np.maximum(numbers - self.offset, 0) * self.scale / self.divisor, self.most)


ENCODINGS = {
    "metres": Encoding(1.0, kinds="f", bytes=2),
    "millimetres": Encoding(1e-3, bytes=2),  # NYU depth as BTS has it, ScanNet
    "kitti": Encoding(1 / 256, bytes=2),  # metres * 256
    "cityscapes_disparity": Encoding(1 / 256, offset=1, bytes=2),  # pixels at the full width of 2048
    "cityscapes_raw": Encoding(1.0, divisor=65535, kinds="iu", bytes=2),  # what MTAN's arrays hold, to the last bit
    # Song et al., CVPR 2015: millimetres with their three lowest bits on top; the toolbox cuts them at 8 m.
    "sun_rgbd": Encoding(1e-3, rotated=3, most=8.0, kinds="iu", bytes=2),
    "mtan_disparity": Encoding(65535 / 256, offset=1 / 65535, kinds="f", bytes=2),  # the same, over 65535
}
ENCODING_RULE = f"one of {', '.join(map(repr, ENCODINGS))}, or a factor > 0 from stored numbers to depth"


def depth_encoding(name: str | float) -> Encoding:
    """The encoding of a name, or of a factor by which stored numbers become depth.

    Raises:
        DataError: it is neither.
    """
    if isinstance(name, str) and name in ENCODINGS:
        return ENCODINGS[name]
    try:
        scale = float(name)
    except (TypeError, ValueError):
        scale = math.nan
    if not 0 < scale < math.inf:
        raise DataError(f"the encoding of depth must be {ENCODING_RULE}, got {name!r}")
    return Encoding(scale)


def read_depth(path: str, encoding: Encoding, key: str = "") -> DenseLabel:
    """A depth map (H, W); not finite, negative and 0 = no label.

    Args:
        path: of an array, or an image of one channel, PNG or TIFF.
        encoding: of the file.
        key: of the array in a ``.mat`` whose address has none; empty = its only one of numbers.

    Raises:
        DataError: the file cannot be read, or is no depth map in this encoding.
    """
    stored = one_channel(_read(path, key))
    if stored.ndim != 2 or 0 in stored.shape:
        raise DataError(
            f"{path}: a depth map has one number for each pixel, (H, W), but this is {_described(stored)}: give the "
            "map itself, not a picture of it in colours"
        )
    if stored.dtype.kind not in encoding.kinds or stored.dtype.itemsize < encoding.bytes:
        names = [name for name, one in ENCODINGS.items() if one == encoding]
        raise DataError(
            f"{path}: holds {stored.dtype}, which depth as {names[0] if names else encoding.scale!r} is never stored "
            f"in: name its encoding by `depth_encoding` in its record or its metadata, {ENCODING_RULE}"
        )
    if stored.dtype == np.uint16 and stored.size > len(LEVELS):
        if _is_quotient(encoding):
            return DenseLabel(_quotients(stored, encoding), 0)
        values, odd = _depth_of_levels(encoding)
        return DenseLabel(values.take(stored), int(np.count_nonzero(odd.take(stored))) if odd.any() else 0)
    values, odd = _decoded(stored, encoding)
    return DenseLabel(values, int(np.count_nonzero(odd)))


def _decoded(stored: Array, encoding: Encoding) -> tuple[Array, Array]:
    """Depth as float32, 0 = no label; and where the stored number cannot be."""
    numbers = encoding.numbers(stored)
    labelled = (numbers > 0) & (numbers <= np.finfo(np.float32).max / max(encoding.scale, 1))  # inf and NaN are not
    depth = np.where(labelled, encoding.depth(numbers), 0).astype(np.float32, copy=False)
    return depth, (numbers != 0) & ~labelled


@functools.cache
def _depth_of_levels(encoding: Encoding) -> tuple[Array, Array]:
    """What ``_decoded`` says of each number of 16 bits, of which an image has more pixels."""
    return _decoded(LEVELS, encoding)


@functools.cache
def _is_quotient(encoding: Encoding) -> bool:
    """Whether ``_quotients`` are what ``_decoded`` says, to the last bit; looking it up takes three times as long."""
    values, odd = _depth_of_levels(encoding)
    return not odd.any() and np.array_equal(_quotients(LEVELS, encoding), values)


def _quotients(stored: Array, encoding: Encoding) -> Array:
    depth = stored.astype(np.float32)
    return np.divide(depth, np.float32(encoding.divisor / encoding.scale), out=depth)


def read_normals(path: str, key: str = "", axes: str = CAMERA_AXES) -> DenseLabel:
    """A map (H, W, 3) of unit vectors; all 0 = no label.

    Numbers of 8 bits are taken for 2 v / 255 - 1, in which grey and black are no label; others for the vectors.

    Args:
        path: of an array (H, W, 3) or (3, H, W), or an image of three channels of 8 bits.
        key: of the array in a ``.mat`` whose address has none; empty = its only one of numbers.
        axes: which way each of the file's three numbers counts in the camera's frame, x right, y down, z forward;
            "+x +z -y", as for NYU, if they are to the right, forward and up.

    Raises:
        DataError: the file cannot be read, or is no map of vectors; or these are no axes.
    """
    turn = _turn(axes)
    stored = channels_last(_read(path, key))
    coded = stored.dtype == np.uint8
    if stored.ndim != 3 or stored.shape[-1] != 3 or 0 in stored.shape or not (coded or stored.dtype.kind == "f"):
        raise DataError(
            f"{path}: a map of normals has three numbers for each pixel, (H, W, 3) or (3, H, W), floats or 8 bits, but "
            f"this is {_described(stored)}: give the vectors themselves"
        )
    vectors = _floats(stored, coded)
    squares = cv2.transform(vectors * vectors, np.ones((1, 3)))  # (H, W) of lengths; OpenCV adds three far faster
    least, most = PICTURED_LENGTHS if coded else (1e-3, math.inf)
    labelled = (squares > least * least) & (squares < most * most)  # which NaN is not
    uneven = labelled & ((squares < UNIT_LENGTHS[0] ** 2) | (squares > UNIT_LENGTHS[1] ** 2))
    odd = np.count_nonzero(~(squares < math.inf) | (uneven if not coded else False))
    units = vectors if _are_units(squares, labelled) else _scaled_to_units(vectors, squares, labelled)
    turned = units if axes == CAMERA_AXES else cv2.transform(units, turn.T)
    return DenseLabel(turned.astype(np.float32, copy=False), int(odd))


def _floats(stored: Array, coded: bool) -> Array:
    """(H, W, 3) contiguous, of 32 bits where that loses nothing."""
    if coded:
        return stored.astype(np.float64) * (2 / 255) - 1
    return np.ascontiguousarray(stored, np.float64 if stored.dtype.itemsize > 4 else np.float32)


def _are_units(squares: Array, labelled: Array) -> bool:
    """Whether all vectors are as long as they are to be, but for rounding: 1, or 0 where there is no label."""
    return bool(np.abs(squares - labelled).max() <= 1e-6)


def _scaled_to_units(vectors: Array, squares: Array, labelled: Array) -> Array:
    """(H, W, 3) of length 1; 0 where there is no label."""
    factors = labelled / np.sqrt(np.where(labelled, squares, 1))
    finite = np.where(labelled[..., None], vectors, 0)
    return cv2.multiply(finite, cv2.merge([factors.astype(vectors.dtype)] * 3))


def _turn(axes: str) -> Array:
    """(3, 3), what a row vector of a file is multiplied by."""
    words = axes.split() if isinstance(axes, str) else []
    if sorted(word[1:] for word in words) != ["x", "y", "z"] or any(word[0] not in "+-" for word in words):
        raise DataError(
            f"`normals_axes` must say of each of three numbers which way it counts, such as {CAMERA_AXES!r} or "
            f"'+x +z -y', got {axes!r}: see docs/depth_and_normals.md"
        )
    return np.array([[float(f"{word[0]}1") * (word[1] == axis) for axis in "xyz"] for word in words])


def _read(path: str, key: str) -> Array:
    """The numbers of a file as stored, upright."""
    if names_array(path):
        return read_array(path, key)
    name, factor = shrinking(path)
    try:
        with PathManager.open(name, "rb") as file:
            return shrunk_map(_from_image(io.BytesIO(file.read()), path), factor, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its text has an address in memory
        raise unreadable(path, ValueError("no image")) from error
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _from_image(content: io.BytesIO, path: str) -> Array:
    with Image.open(content) as image:
        if image.format not in ("PNG", "TIFF", "JPEG"):  # of PGM Pillow scales the numbers up to 65535
            raise DataError(f"{path}: is a {image.format}; depth and normals are read of PNG, TIFF, .npy and .mat")
        deep = bool(image.tile) and ";16" in str(image.tile[0][3])
        if image.mode == "P" or (deep and not image.mode.startswith("I")):  # of several Pillow keeps 8 bits
            raise DataError(
                f"{path}: is an image of {'colours from a palette' if image.mode == 'P' else 'several channels'} "
                f"({image.mode}): give one channel of 16 bits for depth, three of 8 for normals"
            )
        numbers = np.asarray(upright(image))
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _described(array: Array) -> str:
    return f"{array.shape} of {array.dtype}"
