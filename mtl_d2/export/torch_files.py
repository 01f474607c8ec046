"""Files in torch's own formats, which need torch and torchvision, and not this package or detectron2."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torchvision  # noqa: F401  # registers the operations that the files call

from mtl_d2.export.description import KEY, as_text
from mtl_d2.export.errors import ExportError
from mtl_d2.export.network import Source
from mtl_d2.export.onnx_file import Array, Run, first_line

EXTRA = f"{KEY}.json"  # file in the archive that describes the network


def write_torchscript(source: Source, path: Path) -> None:
    """Traces; see ``write_onnx``."""
    network, inputs = source.network, tuple(source.inputs.values())
    names = list(network.named(*inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(network, inputs, check_trace=False)
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise ExportError(f"not in TorchScript: {first_line(error)}") from error
    torch.jit.save(traced, str(path), _extra_files={EXTRA: as_text(source.describe(names))})


def run_torchscript(path: Path, names: Sequence[str], inputs: int) -> Run:
    """What runs a TorchScript file of so many inputs whose outputs have these names."""
    return _runner(torch.jit.load(str(path)), names, inputs)


def write_exported_program(source: Source, path: Path) -> None:
    """``torch.export`` for images of the one size of ``inputs``; see ``write_onnx``.

    Raises:
        ExportError: the network does what depends on the numbers in its tensors, as every detector does.
    """
    network, inputs = source.network, tuple(source.inputs.values())
    names = list(network.named(*inputs))
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(network, inputs, strict=False)
        except Exception as error:  # of many kinds, which differ between releases of torch
            raise ExportError(
                f"not by torch.export, which needs the sizes of all tensors beforehand: {first_line(error)}; "
                "TorchScript and ONNX have no such limit"
            ) from error
    torch.export.save(program, str(path), extra_files={EXTRA: as_text(source.describe(names))})


@contextmanager
def _silence() -> Iterator[None]:
    """Torch logs and prints the whole graph where it cannot follow it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def run_exported_program(path: Path, names: Sequence[str], inputs: int) -> Run:
    """What runs a file of ``torch.export``."""
    return _runner(torch.export.load(str(path)).module(), names, inputs)


def _runner(called: Callable[..., Any], names: Sequence[str], inputs: int) -> Run:
    def run(image: Array, size: tuple[int, int]) -> dict[str, Array]:
        given = (torch.from_numpy(image), torch.tensor(size))[:inputs]
        with torch.no_grad():
            try:
                outputs = called(*given)
            except (RuntimeError, TypeError, ValueError, AssertionError) as error:
                raise ExportError(
                    f"torch fails on an image of {image.shape[1]} x {image.shape[2]}: {first_line(error)}"
                ) from error
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    return run
