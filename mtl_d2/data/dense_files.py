"""Files of depth and of surface normals: arrays, MATLAB files and images, in the encodings in which they are published.

Images are opened by a handle and loaded before they are turned; see ``mtl_d2.data.images``. OpenCV cannot read a TIFF
that lies on its side at all.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mtl_d2.data.errors import DataError
from mtl_d2.data.images import UNREADABLE, upright

Array = npt.NDArray[Any]
# What scipy raises for a file that is no MATLAB file, by kind of damage; numpy only the first two of them.
DAMAGED = (
    ValueError,
    EOFError,
    OSError,
    TypeError,
    KeyError,
    IndexError,
    NotImplementedError,
    zlib.error,
    MatReadError,
)
CAMERA_AXES = "+x +y +z"
UNIT_LENGTHS = (0.9, 1.1)  # of stored normals: the mean of several is shorter, and 8 bits and JPEG are not exact
# Grey, which is 0 but for rounding, and black, which is as long as no unit vector, are no label in pictures of normals.
PICTURED_LENGTHS = (0.5, 1.5)


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
    """How stored numbers become depth: ``(stored - offset) * scale``; stored 0 = no label.

    Attributes:
        scale: unit of the depth per unit of what is stored.
        offset: what is subtracted first.
        kinds: numpy's kinds of numbers that a file in this encoding has.
        bytes: that such a number has at least.
    """

    scale: float
    offset: float = 0.0
    kinds: str = "fiu"
    bytes: int = 1


ENCODINGS = {
    "metres": Encoding(1.0, kinds="f", bytes=2),
    "millimetres": Encoding(1e-3, bytes=2),  # NYU depth as BTS has it, ScanNet
    "kitti": Encoding(1 / 256, bytes=2),  # metres * 256
    "cityscapes_disparity": Encoding(1 / 256, offset=1, bytes=2),  # pixels at the full width of 2048
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
        path: ``.npy``, ``.mat``, or an image of one channel, PNG or TIFF.
        encoding: of the file.
        key: of the array in a ``.mat``; empty = its only one of numbers.

    Raises:
        DataError: the file cannot be read, or is no depth map in this encoding.
    """
    stored = _read(path, key)
    if 1 in (stored.shape[0], stored.shape[-1]) and stored.ndim == 3:
        stored = stored[..., 0] if stored.shape[-1] == 1 else stored[0]
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
    exact = stored.astype(np.float64)
    labelled = (exact > 0) & (exact * encoding.scale <= np.finfo(np.float32).max)  # which inf and NaN are not
    depth = np.zeros(exact.shape, np.float32)
    depth[labelled] = np.maximum(exact[labelled] - encoding.offset, 0) * encoding.scale
    return DenseLabel(depth, int(np.count_nonzero(~labelled & (exact != 0))))


def read_normals(path: str, key: str = "", axes: str = CAMERA_AXES) -> DenseLabel:
    """A map (H, W, 3) of unit vectors; all 0 = no label.

    Numbers of 8 bits are taken for 2 v / 255 - 1, in which grey and black are no label; others for the vectors.

    Args:
        path: ``.npy`` or ``.mat`` (H, W, 3) or (3, H, W), or an image of three channels of 8 bits.
        key: of the array in a ``.mat``; empty = its only one of numbers.
        axes: which way each of the file's three numbers counts in the camera's frame, x right, y down, z forward;
            "+x +z -y", as for NYU, if they are to the right, forward and up.

    Raises:
        DataError: the file cannot be read, or is no map of vectors; or these are no axes.
    """
    turn = _turn(axes)
    stored = _read(path, key)
    if stored.ndim == 3 and stored.shape[-1] != 3 and stored.shape[0] == 3:
        stored = np.moveaxis(stored, 0, -1)
    coded = stored.dtype == np.uint8
    if stored.ndim != 3 or stored.shape[-1] != 3 or 0 in stored.shape or not (coded or stored.dtype.kind == "f"):
        raise DataError(
            f"{path}: a map of normals has three numbers for each pixel, (H, W, 3) or (3, H, W), floats or 8 bits, but "
            f"this is {_described(stored)}: give the vectors themselves"
        )
    vectors = stored.astype(np.float64) * (2 / 255) - 1 if coded else stored.astype(np.float64)
    known = np.isfinite(np.abs(vectors).sum(-1))
    length = np.linalg.norm(np.where(known[..., None], vectors, 0), axis=-1)
    least, most = PICTURED_LENGTHS if coded else (1e-3, math.inf)
    labelled = (length > least) & (length < most)
    units = np.where(labelled[..., None], vectors, 0) / np.where(labelled, length, 1)[..., None]
    uneven = labelled & ((length < UNIT_LENGTHS[0]) | (length > UNIT_LENGTHS[1]))
    odd = np.count_nonzero(~known | (uneven if not coded else False))
    return DenseLabel((units @ turn).astype(np.float32), int(odd))


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
    ending = PurePath(path).suffix.lower()
    try:
        with PathManager.open(path, "rb") as file:
            content = io.BytesIO(file.read())
        if ending == ".npy":
            return _of_numbers(np.lib.format.read_array(content, allow_pickle=False), path)
        return _from_matlab(content, path, key) if ending == ".mat" else _from_image(content, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its text has an address in memory
        raise DataError(f"cannot read {path} (no image): fetch the file again, or correct its record") from error
    except (*UNREADABLE, *DAMAGED) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot read {path} ({what}): fetch the file again, or correct its record") from error


def _from_matlab(content: io.BytesIO, path: str, key: str) -> Array:
    if content.getvalue()[:19] == b"MATLAB 7.3 MAT-file":
        raise DataError(f"{path}: is in MATLAB's format 7.3, which is HDF5: save it with -v7, or as .npy")
    arrays = {name: value for name, value in loadmat(content).items() if not name.startswith("__")}
    names = [key] if key else [name for name, value in arrays.items() if value.ndim >= 2 and value.dtype.kind in "fiu"]
    if len(names) != 1 or names[0] not in arrays:
        wanted = f"no array {key!r}" if key else f"{len(names)} arrays of numbers"
        raise DataError(f"{path}: has {wanted}; it holds {', '.join(map(repr, arrays)) or 'nothing'}: name the key")
    return _of_numbers(arrays[names[0]], path)


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
    return numbers.astype(numbers.dtype.newbyteorder("="))


def _of_numbers(array: Array, path: str) -> Array:
    if array.dtype.kind not in "fiu" or array.ndim < 2:
        raise DataError(f"{path}: expected a map of numbers, found {_described(array)}: write the map itself")
    return array


def _described(array: Array) -> str:
    return f"{array.shape} of {array.dtype}"
