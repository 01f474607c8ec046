#!/usr/bin/env python3
"""Measures how many images a second are labelled, relative to the same network's inference alone.

tools/benchmark_pseudo_labels.py --config-file TEACHER --dataset NAME [--images N] [--rounds R] [KEY VALUE ...]

The weights are drawn, and the thresholds 0, so that there is as much to write as can be. Both take turns on the same
images; figures are medians over the rounds. See docs/pseudo_labels.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import get_cfg

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.data import DataError, register_all
from mtl_d2.data.annotations import evaluation_records
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.pseudo_labels.folder import form_of
from mtl_d2.pseudo_labels.labelling import label_parts, read_samples
from mtl_d2.pseudo_labels.parts import parts_of, target_of
from mtl_d2.pseudo_labels.progress import Progress
from mtl_d2.pseudo_labels.teacher import labelled_kinds
from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.report.pictures import evaluating

LEAST = Thresholds(score=0.0, nms=1.0, confidence=0.0)


def measure(cfg: Any, records: Sequence[dict[str, Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds an image, of the clock and of all threads, of inference and of labelling."""
    model = MultiTaskTrainer.build_model(cfg).eval()
    kinds = labelled_kinds(cfg.MTL.TASKS)

    def infer() -> None:
        with evaluating(model):
            for sample in read_samples(cfg, list(records)):
                model([sample])

    def label() -> None:
        with tempfile.TemporaryDirectory() as folder:
            targets = [target_of(Path(folder), "data", kind, form_of(kind)) for kind in kinds]
            progress = Progress("data", 0, len(records), len(records), 1, speaks=False)
            label_parts(model, cfg, records, parts_of(len(records)), targets, LEAST, progress)

    times: dict[str, list[tuple[float, float]]] = {"inference alone": [], "labelling": []}
    actions = dict(zip(times, (infer, label), strict=True))
    for action in actions.values():
        action()  # the first time does not count
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(seconds(action))
    factor = 1000 / len(records)
    return {
        name: (statistics.median(wall for wall, _ in own) * factor, statistics.median(cpu for _, cpu in own) * factor)
        for name, own in times.items()
    }


def seconds(action: Callable[[], None]) -> tuple[float, float]:
    """Of the clock, and of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="of the teacher")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="a registered data set")
    parser.add_argument("--images", type=int, default=64, metavar="N", help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="(default: %(default)s)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values")
    args = parser.parse_intermixed_args(arguments)
    if min(args.images, args.rounds) < 1:
        parser.error("--images and --rounds must be at least 1")
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, args.config_file, args.opts)
    figures = measure(cfg, evaluation_records(args.dataset)[: args.images], args.rounds)
    print("| | ms an image | of CPU | images a second, relative |\n| --- | ---: | ---: | ---: |")
    first = next(iter(figures.values()))
    for name, (wall, cpu) in figures.items():
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {first[0] / wall:.2f} (by CPU time {first[1] / cpu:.2f}) |")


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
