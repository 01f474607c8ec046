"""A teacher on the images of a data set, and its labels in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from torch import nn
from torch.utils.data import SequentialSampler

from mtl_d2.data.loader import prepare_worker
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.data.memory import in_memory
from mtl_d2.pseudo_labels.form import Entry
from mtl_d2.pseudo_labels.image_names import file_stems, image_name
from mtl_d2.pseudo_labels.parts import Target
from mtl_d2.pseudo_labels.progress import Progress
from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.report.pictures import evaluating

AHEAD = 4  # predictions that wait for the writer; they take memory on the device

Records = Sequence[dict[str, Any]]


def label_parts(
    model: nn.Module,
    cfg: CfgNode,
    records: Records,
    parts: Sequence[range],
    targets: Sequence[Target],
    thresholds: Thresholds,
    progress: Progress,
) -> None:
    """Labels some parts of a data set; a thread of its own makes and writes the labels while the model goes on.

    Args:
        model: the teacher.
        cfg: its config: how images are read.
        records: all of the data set.
        parts: of them, those to label.
        targets: the tasks.
        thresholds: of the labels.
        progress: is told of every image.
    """
    stems = file_stems([record["file_name"] for record in records])
    samples = iter(read_samples(cfg, [records[i] for part in parts for i in part]))
    with evaluating(model), ThreadPoolExecutor(1) as writer:
        for part in parts:
            pending: list[list[Future[Entry]]] = [[] for _ in targets]
            for i in part:
                sample = next(samples)
                (output,) = model([sample])
                place = {
                    "file_name": image_name(records[i]["file_name"]),
                    **{k: sample[k] for k in ("height", "width")},
                }
                for target, entries in zip(targets, pending, strict=True):
                    prediction = output[target.kind.sample_key]
                    entries.append(writer.submit(_write, target, prediction, thresholds, place, stems[i]))
                    if len(entries) > AHEAD:
                        entries[-AHEAD].result()
                progress.step()
            for target, entries in zip(targets, pending, strict=True):
                target.write_part(part, [entry.result() for entry in entries])


def _write(target: Target, prediction: Any, thresholds: Thresholds, place: Entry, stem: str) -> Entry:
    label = target.form.label(prediction, thresholds)
    return {**place, **target.form.write(label, target.files, stem)}


def read_samples(cfg: CfgNode, records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of this process alone, in the order of its records."""
    held = in_memory(records)
    loader = build_detection_test_loader(
        records,
        mapper=_as_it_is if held else MultiTaskMapper(cfg, False),
        sampler=SequentialSampler(records),
        num_workers=0 if held else cfg.DATALOADER.NUM_WORKERS,
    )
    loader.worker_init_fn = prepare_worker
    for (sample,) in loader:
        yield sample


def _as_it_is(record: dict[str, Any]) -> dict[str, Any]:
    return record
