"""Weights of others, read without executing what their authors wrote: tensors, arrays, numbers, text and containers."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np
import torch


class ForbiddenContentError(ValueError):
    """A file asks for more than data: loading it would run code of its author's."""


def _encode(text: str, encoding: str) -> bytes:
    """Bytes that Python 3 wrote for Python 2; ``_codecs.encode`` itself would take any codec."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_FROM_BUFFER: Any = np.zeros(1).__reduce_ex__(5)[0]
_SCALAR: Any = np.float64(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
} | {
    (f"numpy.{core}.{module}", name): value
    for core in ("core", "_core")  # before numpy 2, and since
    for module, name, value in [
        ("multiarray", "_reconstruct", _RECONSTRUCT),
        ("multiarray", "scalar", _SCALAR),
        ("numeric", "_frombuffer", _FROM_BUFFER),
    ]
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ForbiddenContentError(f"{module}.{name}")
        return _ALLOWED[module, name]


def read_pickle(path: str) -> Any:
    """Content of a ``.pkl`` of detectron2's or Caffe2's model zoo.

    Raises:
        ForbiddenContentError: it holds anything but numpy arrays, numbers, text, lists and dicts.
        ValueError: it is no pickle, or cut.
    """
    try:
        with open(path, "rb") as file:
            return _DataUnpickler(file, encoding="latin1").load()
    except ForbiddenContentError as error:
        raise ForbiddenContentError(_refusal(path, str(error), "numpy arrays")) from None
    except Exception as error:  # a broken pickle raises whatever its bytes happen to say
        raise ValueError(f"{path} is no readable pickle of weights ({error}): get it anew") from error


def zoo_weights(path: str) -> dict[str, Any]:
    """Content of a ``.pkl`` of detectron2's or Caffe2's model zoo, as detectron2's ``_load_file`` tells them apart.

    Raises:
        ForbiddenContentError: as ``read_pickle``.
        ValueError: as ``read_pickle``, or it is no dict of weights.
    """
    data = read_pickle(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a dict of weights, found {type(data).__name__}")
    if "model" in data and "__author__" in data:
        return data
    blobs = data.get("blobs", data)  # models for detection have blobs, those for ImageNet do not
    weights = {key: value for key, value in blobs.items() if not key.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def read_torch(path: str, mmap: bool = False) -> Any:
    """Content of a ``.pth`` on the CPU.

    Args:
        path: of the file.
        mmap: leave the tensors in the file until they are used.

    Raises:
        ForbiddenContentError: it holds anything but tensors, numbers, text, lists and dicts.
        ValueError: torch did not write it, or it is cut.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a broken file raises whatever its bytes happen to say
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden:
            raise ForbiddenContentError(_refusal(path, forbidden[1], "tensors")) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read as a file that torch.save wrote: {reason}") from error


def _refusal(path: str, name: str, kind: str) -> str:
    return (
        f"{path} asks for {name}, which is no plain data, so that loading it could run code of its author's; only "
        f"{kind}, numbers, text, lists and dicts are read. If you trust it, save its weights anew as such"
    )
