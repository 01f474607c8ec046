"""Arrays in MATLAB files: up to version 7 by scipy, those of 7.3, which are HDF5, by h5py.

HDF5 shows MATLAB's axes in the opposite order: ``images`` of NYUv2's ``nyu_depth_v2_labeled.mat``, (480, 640, 3, 1449)
in MATLAB, is (1449, 3, 640, 480) there. What is returned has MATLAB's order. Of a 7.3 file the wanted sample alone is
read; of older ones the whole array is, as they are compressed in one piece.
"""

from __future__ import annotations

import importlib
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.utils.file_io import PathManager
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError
from scipy.sparse import issparse

from mtl_d2.data.addresses import Address
from mtl_d2.data.errors import DataError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
# What scipy and h5py raise for a file that is none of theirs, by kind of damage; numpy only the first two of them.
DAMAGED = (
    ValueError,
    EOFError,
    OSError,
    TypeError,
    KeyError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    MatReadError,
)
NUMBERS = "fiub"  # numpy's kinds
# What ``whosmat`` calls MATLAB's classes of numbers, where numpy calls them otherwise.
CLASSES = {"double": "float64", "single": "float32", "logical": "bool"}
_HDF5 = b"MATLAB 7.3 MAT-file"


def matlab_array(address: Address) -> Array:
    """The array at ``address``, as MATLAB shows it.

    Raises:
        DataError: the file has no such array, or needs a package that is not installed.
        DAMAGED: one of them, where the file is not there or damaged.
    """
    if not _is_hdf5(address.file):
        return _of_version_7(address)
    with _open_hdf5(address.file) as opened:
        return np.asarray(_in_hdf5(opened, address)[()]).T


def matlab_form(address: Address) -> tuple[Shape, np.dtype[Any]]:
    """Shape and dtype of the array at ``address``; see ``matlab_array``."""
    if _is_hdf5(address.file):
        with _open_hdf5(address.file) as opened:
            node = _in_hdf5(opened, address)
            return tuple(node.shape[::-1]), node.dtype
    with PathManager.open(address.file, "rb") as opened:
        known = {name: (shape, CLASSES.get(kind, kind)) for name, shape, kind in whosmat(opened)}
    shape, kind = known.get(address.name, ((), ""))
    if address.index is None and kind in ("uint8", "uint16", "float32", "float64", "int16", "int32"):
        return shape, np.dtype(kind)
    array = _of_version_7(address)  # in a struct, a sample of many, or by no name
    return array.shape, array.dtype


def _is_hdf5(file: str) -> bool:
    with PathManager.open(file, "rb") as opened:
        return opened.read(len(_HDF5)) == _HDF5


def _of_version_7(address: Address) -> Array:
    top, *fields = address.name.split(".")
    with PathManager.open(address.file, "rb") as opened:
        known: Any = {
            name: value
            for name, value in loadmat(opened, variable_names=[top] if top else None).items()
            if not name.startswith("__")
        }
        if not top:
            top = _only_one({name: value for name, value in known.items() if _is_map(value)}, known, address.file)
        elif top not in known:
            raise _no_such(address, [name for name, _, _ in whosmat(opened)])
    value = known[top]
    for field in fields:
        if value.dtype.names is None or field not in value.dtype.names:
            raise _no_such(address, list(value.dtype.names or ()))
        value = value[field]  # a cell for each of several structs
        if value.size == 1:
            value = value.flat[0]
    if address.index is None:
        return _full(value)
    in_cells = value.dtype == object
    _require_index(address, value.size if in_cells else value.shape[-1])
    return _full(value.reshape(-1, order="F")[address.index] if in_cells else value[..., address.index])


def _full(value: Any) -> Array:
    """With the zeros that MATLAB's sparse matrices leave out."""
    return np.asarray(value.toarray() if issparse(value) else value)


def _is_map(value: Array) -> bool:
    return value.ndim >= 2 and value.dtype.kind in NUMBERS


def _open_hdf5(file: str) -> Any:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"{file}: is in MATLAB's format 7.3, which is HDF5: `pip install h5py`, or save it with -v7, or as .npy"
        ) from error
    return h5py.File(PathManager.get_local_path(file), "r")


def _in_hdf5(opened: Any, address: Address) -> Any:
    """A dataset whose ``[()]`` gives the numbers, axes reversed: all of it, one sample, or what a cell refers to."""
    node = opened
    for name in address.name.split(".") if address.name else [_only_map(opened, address.file)]:
        inside = list(node) if hasattr(node, "keys") else []
        if name not in inside:
            raise _no_such(address, [one for one in inside if not one.startswith("#")])
        node = node[name]
    if hasattr(node, "keys"):
        raise DataError(f"{address.file}: {address.name} is a struct: name one of its fields, {', '.join(node)}")
    if address.index is None:
        return node
    in_cells = node.dtype.kind == "O"
    _require_index(address, node.size if in_cells else node.shape[0])
    if in_cells:
        return opened[node[np.unravel_index(address.index, node.shape)]]
    return _Sample(node, address.index)


class _Sample:
    """One along the first axis of an HDF5 dataset, which is MATLAB's last; nothing else is read of it."""

    def __init__(self, dataset: Any, index: int) -> None:
        self._dataset, self._index = dataset, index
        self.shape: Shape = dataset.shape[1:]
        self.dtype: np.dtype[Any] = dataset.dtype

    def __getitem__(self, everything: tuple[()]) -> Array:
        return self._dataset[self._index]


def _only_map(opened: Any, file: str) -> str:
    arrays = {name: node for name, node in opened.items() if not name.startswith("#")}
    maps = {n: node for n, node in arrays.items() if not hasattr(node, "keys") and len(node.shape) >= 2}
    return _only_one({name: node for name, node in maps.items() if node.dtype.kind in NUMBERS}, arrays, file)


def _only_one(maps: dict[str, Any], known: dict[str, Any], file: str) -> str:
    if len(maps) != 1:
        raise DataError(
            f"{file}: has {len(maps)} arrays of numbers; it holds {', '.join(map(repr, known)) or 'nothing'}: name the "
            "one that is meant"
        )
    return next(iter(maps))


def _no_such(address: Address, known: list[str]) -> DataError:
    held = ", ".join(map(repr, known)) or "nothing"
    return DataError(f"{address.file}: has no array {address.name!r}; it holds {held}: name the one that is meant")


def _require_index(address: Address, count: int) -> None:
    index = address.index or 0
    if index >= count:
        raise DataError(
            f"{address.file}::{address.name}[{index}]: {address.name} has {count} samples, counted from 0, and none of "
            "this number: correct its record"
        )
