#!/usr/bin/env python3
"""What the analysis of a model's layers costs, beside as many exact updates (MCLGS) of the same model and batch.

tools/benchmark_analysis.py                              # ResNet-18, two tasks, 16 batches of two images, on the CPU
tools/benchmark_analysis.py --tasks 4 --batches 8 --device cuda

Both take turns; CPU time of the process on a CPU, wall time on a GPU; medians of the rounds. Memory is the growth of
the process's peak by an analysis of twice as many batches.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from benchmark_models import MODELS, Setting
from benchmark_variants import VARIANTS, Bench, make_update

from mtl_d2.analysis import analyze


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(MODELS), default="r18")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the images (the model's)")
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> float:
    """Prints a line and gives the ratio."""
    args = parse(arguments)
    model = MODELS[args.model]
    bench = Bench(Setting(args.model, tuple(args.size or model.size), model.batch, args.tasks, args.device))
    bench.model.train()
    trainer = bench.trainer(VARIANTS["mclgs"])
    clock = time.process_time if args.device == "cpu" else time.perf_counter

    def seconds(make: Callable[[], object]) -> float:
        start = clock()
        make()
        return clock() - start

    def updates() -> None:
        for _ in range(args.batches):
            make_update(trainer)

    def analysis(count: int = args.batches) -> None:
        analyze(bench.model, repeat(bench.batches[False], count))
        if args.device != "cpu":
            torch.cuda.synchronize()

    make_update(trainer)
    analysis(1)
    times = [(seconds(updates), seconds(analysis)) for _ in range(args.rounds)]
    update, ours = (statistics.median(column) for column in zip(*times, strict=True))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    analysis(2 * args.batches)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{args.model}, {args.tasks} tasks, {args.batches} batches on {args.device}: {args.batches} exact updates "
        f"{update:.2f} s, the analysis {ours:.2f} s, {ours / update:.2f} times as long; the peak of twice as many "
        f"batches is {grown:.1f} MiB higher"
    )
    return ours / update


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
