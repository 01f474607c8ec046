"""Files in the format ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mtl_d2.export.architectures import most_kept
from mtl_d2.export.copies import spare_copies
from mtl_d2.export.description import KEY, as_text
from mtl_d2.export.errors import ExportError
from mtl_d2.export.network import Source
from mtl_d2.export.suppression import end_suppression
from mtl_d2.export.unpooling import unpooling

OPSET = 17
OLDEST, NEWEST = 16, 20  # RoiAlign as detectron2 has it came with 16; torch's exporter of traces ends with 20
# The other exporter follows no sizes that depend on numbers in tensors; torch 2.4 has this one alone.
BY_TRACE: dict[str, Any] = {"dynamo": False} if "dynamo" in signature(torch.onnx.export).parameters else {}
Array = npt.NDArray[Any]
Run = Callable[[Array, tuple[int, int]], dict[str, Array]]


def require_onnx() -> None:
    """Said before anything is loaded.

    Raises:
        ExportError: a package is missing.
    """
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ExportError(f'{" and ".join(missing)} must be installed to export to ONNX: pip install -e ".[export]"')


def wrong_opset(opset: int) -> str | None:
    """A line where it is none that a network can be written in."""
    if OLDEST <= opset <= NEWEST:
        return None
    return (
        f"--opset {opset}: must be {OLDEST} to {NEWEST}; older ones have no operation for boxes cut out of features "
        f"(RoiAlign at half pixels), newer ones are not written by torch's exporter of traces"
    )


def write_onnx(source: Source, path: Path, opset: int = OPSET) -> None:
    """Writes the graph of a network, and in it what describes it.

    Args:
        source: the network.
        path: of the file.
        opset: of ONNX.

    Raises:
        ExportError: something in the network has no operation in ONNX.
    """
    import onnx

    network = source.network
    axes = _open_axes(source)
    names = list(network.names)
    with warnings.catch_warnings(), unpooling(opset):
        warnings.simplefilter("ignore")  # of the tracer, about what the check afterwards finds out
        try:
            torch.onnx.export(
                network,
                tuple(source.inputs.values()),
                str(path),
                opset_version=opset,
                input_names=list(source.inputs),
                output_names=names,
                dynamic_axes=axes if source.any_size else None,
                **BY_TRACE,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, NotImplementedError) as error:
            raise ExportError(f"not in ONNX with opset {opset}: {first_line(error)}") from error
    model = onnx.load(str(path))
    end_suppression(model, most_kept(network.model))
    spare_copies(model)
    model.metadata_props.add(key=KEY, value=as_text(source.describe(names)))
    onnx.save(model, str(path))


def _open_axes(source: Source) -> dict[str, dict[int, str]]:
    network, axes = source.network, {"image": {1: "height", 2: "width"}}
    for name, output in network.named(*source.inputs.values()).items():
        last = output.dim() - 1
        axes[name] = {0: "objects"} if name in network.of_objects else {last - 1: "rows", last: "columns"}
    return axes


def first_line(error: BaseException) -> str:
    """Of its message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def run_onnx(path: Path, threads: int = 0) -> Run:
    """What runs a file by onnxruntime on the CPU.

    Args:
        path: of the file.
        threads: that work on one image; 0 = as many as there are cores.

    Raises:
        ExportError: onnxruntime refuses the file.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    refused = (errors.Fail, errors.InvalidGraph, errors.NotImplemented, errors.InvalidArgument, errors.RuntimeException)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except refused as error:
        raise ExportError(f"onnxruntime does not load it: {first_line(error)}") from error
    inputs = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]

    def run(image: Array, size: tuple[int, int]) -> dict[str, Array]:
        given = {"image": image, "size": np.array(size, np.int64)}
        try:
            outputs = session.run(names, {name: value for name, value in given.items() if name in inputs})
        except refused as error:
            raise ExportError(
                f"onnxruntime fails on an image of {image.shape[1]} x {image.shape[2]}: {first_line(error)}"
            ) from error
        return dict(zip(names, outputs, strict=True))

    return run
