#!/usr/bin/env python3
"""Measures how many images a second the training's loader gives, by the number of its worker processes.

tools/benchmark_data.py --config-file configs/bdd100k_mclgs.yaml [--workers 0 1 2] [--batches B] [KEY VALUE ...]

Loaders take turns, round after round; figures are medians over the rounds. A training of more images a second than its
loader gives waits for data. See docs/precision_and_memory.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from train_net import prepare

from mtl_d2.config import ConfigError
from mtl_d2.data import DataError, build_train_loader

WARM_UP = 1  # batches that do not count: the workers start


def measure(cfg: Any, workers: Sequence[int], batches: int, rounds: int) -> dict[int, float]:
    """Median images per second by the number of workers."""
    rates: dict[int, list[float]] = {number: [] for number in workers}
    for round_number in range(rounds):
        for number in workers if round_number % 2 else reversed(workers):
            rates[number].append(images_per_second(cfg, number, batches, start=round_number * cfg.SOLVER.IMS_PER_BATCH))
    return {number: statistics.median(own) for number, own in rates.items()}


def images_per_second(cfg: Any, workers: int, batches: int, start: int) -> float:
    """Of one loader, from the sample ``start`` of the stream on."""
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = workers
    stream = iter(build_train_loader(cfg, start))
    for _ in range(WARM_UP):
        next(stream)
    begin = time.perf_counter()
    images = sum(len(next(stream)) for _ in range(batches))
    return images / (time.perf_counter() - begin)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="of the training")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--batches", type=int, metavar="B", default=8, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, metavar="R", default=3, help="(default: %(default)s)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values")
    args = parser.parse_intermixed_args(arguments)
    if min(args.workers) < 0 or min(args.batches, args.rounds) < 1:
        parser.error("--workers must be at least 0, --batches and --rounds at least 1")
    return args


def main(arguments: Sequence[str] | None = None) -> dict[int, float]:
    """Measures and prints the table."""
    args = parse(arguments)
    torch.set_num_threads(1)  # as in a worker
    cfg = prepare(args)
    rates = measure(cfg, args.workers, args.batches, args.rounds)
    print(f"{args.config_file}: batches of {cfg.SOLVER.IMS_PER_BATCH}, {os.cpu_count()} CPU cores\n")
    print("| workers | images/s | ms an image |\n| ---: | ---: | ---: |")
    for number, rate in rates.items():
        print(f"| {number} | {rate:.1f} | {1000 / rate:.1f} |")
    return rates


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
