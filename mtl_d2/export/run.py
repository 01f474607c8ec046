"""Exports the network of a training: writes the file, and keeps it only where it gives the network's predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from detectron2.export.torchscript_patch import patch_builtin_len

from mtl_d2.data.checks.records import read
from mtl_d2.data.errors import DataError
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.export import onnx_file, torch_files
from mtl_d2.export.architectures import fixed_shape, thresholded
from mtl_d2.export.check import Agreement, Trial, check, drawn_pictures, padding, trials
from mtl_d2.export.description import description
from mtl_d2.export.errors import ExportError
from mtl_d2.export.network import ExportedNetwork, Source, evaluating, finding_nothing
from mtl_d2.export.onnx_file import Run
from mtl_d2.files import naming
from mtl_d2.prediction.network import Network

Array = npt.NDArray[Any]
PICTURES = 3  # of the run's test data, that a check looks at


@dataclass(frozen=True)
class Wish:
    """What kind of file is asked for.

    Attributes:
        output: its path, whose suffix is a key of ``FORMATS``.
        stored_size: whether the size of the predictions is an input; else they have that of the image.
        ids: whether maps of scores become maps of class ids.
        opset: of ONNX.
    """

    output: Path
    stored_size: bool = True
    ids: bool = False
    opset: int = onnx_file.OPSET

    def mistakes(self) -> Iterator[str]:
        """A line for each thing that cannot be."""
        if self.output.suffix not in FORMATS:
            known = ", ".join(f"{suffix} ({form.name})" for suffix, form in FORMATS.items())
            yield f"--output {self.output}: its name must end with one of {known}"
        elif self.output.is_dir():
            yield f"--output {self.output} is a folder: name a file"
        elif not self.output.parent.is_dir():
            yield f"--output {self.output}: there is no folder {self.output.parent}"
        wrong = onnx_file.wrong_opset(self.opset)
        if wrong and self.output.suffix == ".onnx":
            yield wrong


def export(trained: Network, wish: Wish, images: Sequence[str] = ()) -> Agreement:
    """Writes the file of a network, checks it and puts it in its place; the network is left as it came in.

    Args:
        trained: what ``mtl_d2.load`` gives, on the CPU.
        wish: the file.
        images: files to check it on; empty = of the run's test data, or drawn ones where there is none.

    Raises:
        ExportError: the network has no such file, or its file is another network; nothing is left of it.
        DataError: one of the images cannot be read.
    """
    for mistake in wish.mistakes():
        raise ExportError(mistake)
    form, model = FORMATS[wish.output.suffix], trained.model
    form.require()
    pictures = _pictures(trained, images)
    source = _source(trained, wish, pictures[0])
    tried = list(trials(pictures, padding(model), fixed_shape(model, trained.cfg)))
    if form.one_size:
        tried = [trial for trial in tried if trial.image.shape == pictures[0].shape]
    partial_file = wish.output.with_name(f".{wish.output.stem}.part{wish.output.suffix}")

    def written_and_checked(tried: Sequence[Trial]) -> Agreement:
        with evaluating(source.network), patch_builtin_len(), naming(wish.output):
            form.write(source, partial_file, wish)
        run = form.run(partial_file, source.network.names, len(source.inputs))
        return check(run, source.network, tried, stored_size="size" in source.inputs)

    try:
        with finding_nothing(model):  # few networks find nothing on any image
            nothing = written_and_checked(tried[:1]) if thresholded(model) else None
        agreement = written_and_checked(tried)
        os.replace(partial_file, wish.output)
    finally:
        partial_file.unlink(missing_ok=True)
    return agreement if nothing is None else agreement.beside(nothing)


def _source(trained: Network, wish: Wish, picture: Array) -> Source:
    """What the file is made of; the graph is traced with ``picture``."""
    of_scores = [kind.sample_key for kind in trained.kinds if kind.is_map and kind.classes_key]
    network = ExportedNetwork(trained.model, of_scores if wish.ids else ())
    shape = fixed_shape(trained.model, trained.cfg)
    inputs = {"image": torch.from_numpy(picture)}
    if wish.stored_size and shape is None:
        inputs["size"] = torch.tensor(picture.shape[1:])
    describe = partial(
        description,
        trained.cfg,
        trained.kinds,
        trained.classes,
        ids=network.ids,
        stored_size="size" in inputs,
        shape=shape or (picture.shape if FORMATS[wish.output.suffix].one_size else None),
    )
    return Source(network, inputs, describe, any_size=shape is None)


def _pictures(trained: Network, images: Sequence[str]) -> list[Array]:
    """Some images as the network sees them; at least one.

    Raises:
        ExportError: an image that was named is not of the only size that the network takes.
    """
    shape = fixed_shape(trained.model, trained.cfg)
    pictures = list(_photographs(trained, images))
    odd = [picture.shape for picture in pictures if shape is not None and picture.shape != shape]
    if odd:
        raise ExportError(f"--images: one of them is {odd[0]}, and the network takes {shape} (C, H, W) alone")
    return pictures or drawn_pictures(shape or _usual_shape(trained))


def _photographs(trained: Network, images: Sequence[str]) -> Iterator[Array]:
    """Images as the network sees them: those named, or some of the run's test data."""
    mapper = MultiTaskMapper(trained.cfg, is_train=False)
    records: Sequence[Any] = [{"file_name": str(path)} for path in images]
    if not images:
        of_sets = (read(name)[0] or [] for name in trained.cfg.DATASETS.TEST)
        records = list(islice((record for of_set in of_sets for record in of_set[:PICTURES]), PICTURES))
    for record in records:
        try:
            yield (record if "image" in record else mapper(record))["image"].float().numpy()
        except DataError:
            if images:
                raise


def _usual_shape(trained: Network) -> tuple[int, int, int]:
    options = trained.cfg.INPUT
    height, width = options.TEST_SIZE or (options.MIN_SIZE_TEST, min(options.MAX_SIZE_TEST, options.MIN_SIZE_TEST * 2))
    return len(trained.cfg.MODEL.PIXEL_MEAN), height, width


@dataclass(frozen=True)
class Form:
    """A format of files.

    Attributes:
        name: in words.
        write: what the file is made of, to a path, as wished.
        run: what runs the file, of the names of its outputs and the number of its inputs.
        one_size: whether it is for images of one size alone.
        require: says what is missing to write it.
    """

    name: str
    write: Callable[[Source, Path, Wish], None]
    run: Callable[[Path, Sequence[str], int], Run]
    one_size: bool = False
    require: Callable[[], None] = lambda: None


FORMATS = {
    ".onnx": Form(
        "ONNX",
        lambda source, path, wish: onnx_file.write_onnx(source, path, wish.opset),
        lambda path, names, inputs: onnx_file.run_onnx(path),
        require=onnx_file.require_onnx,
    ),
    ".ts": Form(
        "TorchScript",
        lambda source, path, wish: torch_files.write_torchscript(source, path),
        torch_files.run_torchscript,
    ),
    ".pt2": Form(
        "torch.export",
        lambda source, path, wish: torch_files.write_exported_program(source, path),
        torch_files.run_exported_program,
        one_size=True,
    ),
}
