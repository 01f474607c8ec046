"""Looks at the data of a config as a training would get them, and writes a page of it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch.utils.data import DataLoader

from mtl_d2.data import DataError, check_data
from mtl_d2.data.kept_lines import keeping_lines
from mtl_d2.data.loader import prepare_worker
from mtl_d2.data.progress import PERIOD, QUIET, Progress
from mtl_d2.files import write_atomically
from mtl_d2.inspection.data_sets import read_data_sets
from mtl_d2.inspection.findings import Findings, Limits, SetFindings
from mtl_d2.inspection.observation import Observation, Observer
from mtl_d2.inspection.page import data_page
from mtl_d2.inspection.pictures import some_pictures
from mtl_d2.inspection.summaries import summarise
from mtl_d2.report.pictures import palette_of
from mtl_d2.tasks.base import first_of_each
from mtl_d2.tasks.registry import kinds_of

PAGE, PICTURES = "data.html", "pictures"
WORTH = 64  # samples from which on it is worth while to start processes for them


def look_at_data(cfg: CfgNode, output: str | Path, limits: Limits | None = None, title: str = "Data") -> Findings:
    """Looks at the data sets of a config and writes ``output/data.html``, with pictures in ``output/pictures``.

    Each training set's samples are those that the training draws first, with the augmentation that it gives them. When
    it is stopped by Ctrl-C the page says so, and has what was seen until then.

    Args:
        cfg: checked by ``check_mtl_config``; its data sets are registered.
        output: folder, made where it is not there.
        limits: of what is looked at.
        title: of the page.

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    folder = Path(output)
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    findings = Findings(cfg, limits or Limits(), title)
    try:
        with _steady():
            _look(findings, folder / PICTURES)
    except KeyboardInterrupt:
        findings.stopped = True
    with Progress() as progress:
        progress.now("counting what was seen")
        summarise(findings)
    write_atomically(folder / PAGE, data_page(findings, folder))
    return findings


@contextmanager
def _steady() -> Iterator[None]:
    """Torch with one thread: the work is of NumPy and OpenCV, in small pieces."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _look(findings: Findings, folder: Path) -> None:
    cfg = findings.cfg
    _check(findings)
    with keeping_lines() as lines, Progress() as progress:
        progress.now("reading all records, and drawing what updates are made of")
        findings.data = read_data_sets(cfg, findings.limits.updates)
    findings.warned += [line.text for line in lines if line.level >= logging.WARNING]
    findings.warned = list(dict.fromkeys(findings.warned))
    findings.refused += [line for line in findings.data.unread if not _is_said(line, findings.refused)]
    kinds = first_of_each(kinds_of(cfg.MTL.TASKS))
    names = {data_set.name for data_set in findings.data.sets}
    palette = palette_of(_of_sets(cfg, names), kinds)
    observers = []
    for data_set in findings.data.sets:
        if any(one.name == data_set.name for one in findings.sets):
            continue  # named twice
        seen = SetFindings(data_set)
        findings.sets.append(seen)
        observer = Observer(cfg, data_set)
        observers.append((observer, seen))
        seen.shown, failed = some_pictures(observer, findings.limits.samples, palette, folder)
        seen.failed += failed
    classes = {name for seen in findings.sets for shown in seen.shown for name in shown.classes}
    findings.colors = {name: "#{:02x}{:02x}{:02x}".format(*palette[name]) for name in palette.in_order(classes)}
    for observer, seen in observers:
        _observe(findings, observer, seen)


def _check(findings: Findings) -> None:
    """What a training would say when it starts."""
    try:
        with keeping_lines() as lines:
            check_data(findings.cfg)
    except DataError as error:
        findings.refused += str(error).splitlines()
    findings.warned += [line.text for line in lines if line.level >= logging.WARNING]


def _is_said(line: str, lines: Sequence[str]) -> bool:
    """Whether one of ``lines`` says the same, perhaps of several data sets."""
    return any(line in other or line.partition(": ")[2] in other for other in lines)


def _of_sets(cfg: CfgNode, names: set[str]) -> CfgNode:
    """The config with the data sets that could be read."""
    changed = cfg.clone()
    changed.defrost()
    changed.DATASETS.TRAIN = tuple(name for name in cfg.DATASETS.TRAIN if name in names)
    changed.DATASETS.TEST = tuple(name for name in cfg.DATASETS.TEST if name in names)
    return changed


def _observe(findings: Findings, observer: Observer, seen: SetFindings) -> None:
    """Goes through samples, in processes of the loader where the config has some."""
    number = min(len(observer), findings.limits.statistics)
    workers = min(findings.cfg.DATALOADER.NUM_WORKERS, len(os.sched_getaffinity(0))) if number >= WORTH else 0
    loader: Any = DataLoader(
        observer,
        batch_size=None,
        sampler=range(number),  # type: ignore[arg-type]  # any iterable
        num_workers=0 if observer.in_memory else workers,
        collate_fn=_as_it_is,
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=prepare_worker,
    )
    start = told = time.monotonic()
    for i, one in enumerate(islice(loader, number), 1):
        (seen.observed if isinstance(one, Observation) else seen.failed).append(one)
        now = time.monotonic()
        if now - start > QUIET and now - told > PERIOD / 2:
            told = now
            left = (now - start) / i * (number - i)
            sys.stderr.write(f"{seen.name}: {i} of {number} samples, {left:.0f} s left; Ctrl-C writes what was seen\n")


def _as_it_is(one: Any) -> Any:
    return one
