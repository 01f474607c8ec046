"""IDX files, as MNIST and Fashion-MNIST are published, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtl_d2.data.errors import DataError

Array = npt.NDArray[np.uint8]

_KINDS = {1: "labels", 3: "images"}  # by number of dimensions
_MAGIC = b"\x00\x00\x08"  # two zeros, then "unsigned byte"; the number of dimensions follows
_AGAIN = "fetch the file again"


def read_idx(path: Path, dimensions: int) -> Array:
    """The array of an IDX file of unsigned bytes.

    Args:
        path: ends in ``.gz`` if it is gzipped.
        dimensions: 1 for labels (N,), 3 for images (N, H, W).

    Raises:
        DataError: the file is cut off or damaged, no IDX file, or holds labels where images belong, or the reverse.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path} cannot be read ({e}): {_AGAIN}") from e
    if len(data) < 4 or data[:3] != _MAGIC:
        raise DataError(
            f"{path}: an IDX file of bytes begins with 00 00 08, found {data[:3].hex(' ') or 'nothing'}: {_AGAIN}"
        )
    if data[3] != dimensions:
        content = _KINDS.get(data[3], f"an array of {data[3]} dimensions")
        raise DataError(f"{path}: expected {_KINDS[dimensions]}, found {content}: put each file under its own name")
    head = 4 + 4 * dimensions
    if len(data) < head:
        raise DataError(f"{path}: cut off within its header of {head} bytes, found {len(data)}: {_AGAIN}")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    expected = head + int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise DataError(f"{path}: shape {shape} takes {expected} bytes, found {len(data)}: {_AGAIN}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_pair(images: Path, labels: Path, classes: int = 10) -> tuple[Array, Array]:
    """Images (N, 28, 28) and their labels (N,) in [0, ``classes``).

    Raises:
        DataError: one of the files is wrong, or they do not belong together.
    """
    pictures, ids = read_idx(images, 3), read_idx(labels, 1)
    if pictures.shape[1:] != (28, 28):
        raise DataError(f"{images}: images must be 28 x 28, found {pictures.shape[1]} x {pictures.shape[2]}: {_AGAIN}")
    if len(pictures) != len(ids):
        raise DataError(f"{images} has {len(pictures)} images, but {labels} {len(ids)} labels: {_AGAIN}")
    if len(ids) == 0 or ids.max() >= classes:
        largest = f"{ids.max()}" if len(ids) else "no label"
        raise DataError(f"{labels}: labels must be in 0..{classes - 1}, found {largest}: {_AGAIN}")
    return pictures, ids
