"""Arrays of numbers in files, by their addresses: see ``mtl_d2.data.addresses``.

No file stays open between two arrays, so records can be read in any process.
"""

from __future__ import annotations

import functools
import io
import math
import os
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from detectron2.utils.file_io import PathManager

from mtl_d2.data.addresses import parse_address
from mtl_d2.data.errors import DataError
from mtl_d2.data.matlab import DAMAGED, matlab_array, matlab_form

Array = npt.NDArray[Any]
CHANNELS = (1, 3)  # that an image or a map has, first or last


class Form(NamedTuple):
    """What the numbers of a file are, before they are read.

    Attributes:
        shape: of the array, as MATLAB shows it.
        dtype: of its numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.shape} of {self.dtype}"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what it is a map of; see ``channels_last``."""
        height, width = self.shape[1:] if is_channels_first(self.shape) else self.shape[:2]
        return width, height

    @property
    def channels(self) -> int:
        """Numbers of a pixel; 0 = it is no map, or one without pixels."""
        if 0 in self.shape or len(self.shape) > 3:
            return 0
        if len(self.shape) == 2:
            return 1
        return self.shape[0] if is_channels_first(self.shape) else self.shape[-1]


def read_array(path: str, name: str = "") -> Array:
    """The numbers at an address, in this machine's byte order; truth values as 0 and 1.

    Args:
        path: an address.
        name: of the array in a MATLAB file, where the address does not say it.

    Returns:
        an array of two axes or more, oriented as MATLAB shows it.

    Raises:
        DataError: there is no such file or array, it is cut off or damaged, or holds no numbers.
    """
    address = parse_address(path)
    if not address.name and name:
        address = replace(address, name=name)
    try:
        array = matlab_array(address) if _is_matlab(address.file) else _numpy_array(address.file)
    except DataError:
        raise
    except DAMAGED as error:
        raise unreadable(path, error) from error
    _require_numbers(Form(array.shape, array.dtype), path)
    return array.view(np.uint8) if array.dtype == bool else array.astype(array.dtype.newbyteorder("="), copy=False)


def read_form(path: str) -> Form:
    """The form of the array at an address, without its numbers where the file says it without them.

    Raises:
        DataError: as ``read_array`` does; files whose end is missing too, where their first bytes tell it.
    """
    address = parse_address(path)
    try:
        form = Form(*(matlab_form(address) if _is_matlab(address.file) else _numpy_form(address.file)))
    except DataError:
        raise
    except DAMAGED as error:
        raise unreadable(path, error) from error
    return _require_numbers(form, path)


def unreadable(path: str, error: Exception) -> DataError:
    """What is said of a file that cannot be read."""
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"cannot read {path} ({what}): fetch the file again, or correct its record")


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether (C, H, W) rather than (H, W, C) or (H, W), where C is 1 or 3."""
    return len(shape) == 3 and shape[-1] not in CHANNELS and shape[0] in CHANNELS


def channels_last(array: Array) -> Array:
    """(H, W, C) of (C, H, W), where the channels are the first axis; others as they are."""
    return np.moveaxis(array, 0, -1) if is_channels_first(array.shape) else array


def one_channel(array: Array) -> Array:
    """(H, W) of (H, W, 1) or (1, H, W); others as they are."""
    if array.ndim != 3 or 1 not in (array.shape[0], array.shape[-1]):
        return array
    return array[..., 0] if array.shape[-1] == 1 else array[0]


def _is_matlab(file: str) -> bool:
    return file[-4:].lower() == ".mat"


def _numpy_array(file: str) -> Array:
    with open(PathManager.get_local_path(file), "rb") as opened:
        header = _read_numpy_header(opened)
        numbers = np.fromfile(opened, header.dtype, math.prod(header.shape))
    if numbers.size < math.prod(header.shape):
        raise ValueError(f"it has {numbers.size} of its {math.prod(header.shape)} numbers")
    return numbers.reshape(header.shape, order="F" if header.fortran_order else "C")


def _numpy_form(file: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with PathManager.open(file, "rb") as opened:
        header = _read_numpy_header(opened)
        expected = opened.tell() + math.prod(header.shape) * header.dtype.itemsize
        stored = opened.seek(0, os.SEEK_END)
    if stored < expected:
        raise ValueError(f"it has {stored} of its {expected} bytes")
    return header.shape, header.dtype


class _NumpyHeader(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def _read_numpy_header(opened: BinaryIO) -> _NumpyHeader:
    """Of a file that stands at its beginning, and then at its numbers."""
    version = np.lib.format.read_magic(opened)
    length_bytes = opened.read(2 if version == (1, 0) else 4)
    text = opened.read(int.from_bytes(length_bytes, "little"))
    return _parsed_header(version, length_bytes + text)


@functools.lru_cache(maxsize=64)
def _parsed_header(version: tuple[int, int], content: bytes) -> _NumpyHeader:
    """Numpy parses it as Python's text, which takes longer than reading the numbers; files of one kind share it."""
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header = _NumpyHeader(*read(io.BytesIO(content)))
    if header.dtype.hasobject:
        raise ValueError("it holds Python's objects, which may be anything")
    return header


def _require_numbers(form: Form, path: str) -> Form:
    if form.dtype.kind not in "fiub" or len(form.shape) < 2:
        advice = "name one of its cells, such as NAME[0]" if form.dtype == object else "write the map itself"
        raise DataError(f"{path}: expected a map of numbers, found {form}: {advice}")
    return form
