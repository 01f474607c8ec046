#!/usr/bin/env python3
"""Measures what one update costs in time, memory and arithmetic, relative to detectron2's SimpleTrainer.

tools/benchmark.py [--model r50|r18|small|rcnn-r50|rcnn-small|segnet|mtan|lenet] [--rounds R] [--flops]
                   [--memory] [--json FILE]
tools/benchmark.py --all-methods [...]

All variants update the same model in turn, round after round, so that a disturbance of the machine meets all of them;
a ratio is the median over the rounds of a variant's time by its reference's in the same round. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits would count as busy; torch reads it once

import torch
from benchmark_bare import BARE
from benchmark_methods import METHODS, format_methods, measure_shares, pick_clock
from benchmark_models import MODELS, Setting
from benchmark_variants import SPEED, VARIANTS, Bench, FlopCounter, make_update

WARM_UP = 2  # rounds that do not count
MEMORY_UPDATES = 3  # the first one allocates the momentum
KNOWN = VARIANTS | SPEED | BARE | METHODS
STATUS = Path("/proc/self/status")
Results = dict[str, dict[str, Any]]


def measure_times(bench: Bench, names: Sequence[str], rounds: int) -> Results:
    """Median seconds of an update and its median ratio to the reference, in CPU and in wall time."""
    trainers = {name: bench.trainer(KNOWN[name]) for name in names}
    seconds: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in names}
    for round_number in range(WARM_UP + rounds):
        for name in names if round_number % 2 else reversed(names):
            cpu, wall = time.process_time(), time.perf_counter()
            make_update(trainers[name])
            if round_number >= WARM_UP:
                seconds[name]["cpu"].append(time.process_time() - cpu)
                seconds[name]["wall"].append(time.perf_counter() - wall)
    results: Results = {name: {} for name in names}
    for name in names:
        for clock, own in seconds[name].items():
            reference = seconds[KNOWN[name].reference][clock]
            results[name][f"{clock}_s"] = statistics.median(own)
            results[name][f"{clock}_ratio"] = statistics.median(a / b for a, b in zip(own, reference, strict=True))
    return results


def measure_flops(bench: Bench, names: Sequence[str]) -> Results:
    """Operations of one update; the same in every run."""
    results: Results = {}
    for name in names:
        trainer = bench.trainer(KNOWN[name])
        with FlopCounter() as counter:
            make_update(trainer)
        results[name] = {"gflop": counter.flops / 1e9}
    return add_ratios(results, "gflop", "flop_ratio")


def measure_memory(arguments: Sequence[str], names: Sequence[str], threads: int) -> Results:
    """Peak MiB of the updates of each variant, each in a process of its own."""
    results: Results = {}
    # glibc keeps freed blocks in its heap, more of them the longer a process runs; with a fixed threshold a large
    # block goes back when it is freed, so that the peak is of what was in use at one time.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    for name in names:
        command = [sys.executable, __file__, *arguments, "--probe", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        results[name] = {"peak_mib": float(done.stdout.splitlines()[-1])}
    return add_ratios(results, "peak_mib", "peak_ratio")


def probe_memory(bench: Bench, name: str) -> float:
    """Peak MiB of updates by one variant, above what model, batch and program hold before the first."""
    trainer = bench.trainer(KNOWN[name])
    if bench.setting.device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is resident now
        before = high_water_mark()
    for _ in range(MEMORY_UPDATES):
        make_update(trainer)
    peak = torch.cuda.max_memory_allocated() if bench.setting.device == "cuda" else high_water_mark()
    return (peak - before) / 2**20


def high_water_mark() -> int:
    """Most bytes that were resident at one time; ``ru_maxrss`` would start at the size of the parent process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def add_ratios(results: Results, key: str, ratio: str) -> Results:
    """``results`` with each variant's ``key`` by its reference's."""
    for name, found in results.items():
        found[ratio] = found[key] / results[KNOWN[name].reference][key]
    return results


def format_table(results: Results) -> str:
    """A Markdown table; ratios in bold stand beside what they are of."""
    columns = [
        ("CPU s", "cpu_s", "cpu_ratio", ".3f"),
        ("wall s", "wall_s", "wall_ratio", ".3f"),
        ("GFLOP", "gflop", "flop_ratio", ".1f"),
        ("peak MiB", "peak_mib", "peak_ratio", ".0f"),
    ]
    shown = [column for column in columns if any(column[1] in found for found in results.values())]
    head = ["variant", "what it is", "ratio to", *(cell for title, *_ in shown for cell in (title, "ratio"))]
    lines = [" | ".join(head), " | ".join(["---"] * 3 + ["---:"] * (2 * len(shown)))]
    for name, found in results.items():
        cells = [f"`{name}`", KNOWN[name].about, f"`{KNOWN[name].reference}`"]
        for _, key, ratio, style in shown:
            cells += [format(found[key], style), f"**{found[ratio]:.3f}**"]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def describe_machine(device: str) -> dict[str, Any]:
    """What a figure is to be read with."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores"
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with the model's own size and batch where none are given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=list(MODELS), default="r50", help="network (default: %(default)s)")
    parser.add_argument("--size", metavar="HxW", help="image size in pixels (default: the model's)")
    parser.add_argument("--batch", type=int, metavar="B", help="images of a batch (default: the model's)")
    parser.add_argument(
        "--tasks",
        type=int,
        metavar="T",
        help="the first T of the model's tasks (default: without a made-up third)",
    )
    parser.add_argument("--rounds", type=int, metavar="R", default=7, help="rounds that count; 0: no times")
    parser.add_argument("--variants", nargs="+", choices=list(KNOWN), metavar="NAME")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, metavar="N", default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--flops", action="store_true", help="count floating-point operations too")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too, in a process for each variant")
    parser.add_argument(
        "--all-methods", action="store_true", help="compare the aggregators with mean: MCLGS, CAGrad, PCGrad, ..."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.add_argument("--probe", choices=list(KNOWN), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    problem = complete(args)
    if problem:
        parser.error(problem)
    return args


def complete(args: argparse.Namespace) -> str:
    """Fills in what depends on the model; returns what is wrong with the arguments, or nothing."""
    model = MODELS[args.model]
    try:
        args.size = model.size if args.size is None else tuple(int(x) for x in args.size.split("x"))
    except ValueError:
        args.size = ()
    args.batch = model.batch if args.batch is None else args.batch
    args.tasks = len(model.tasks) if args.tasks is None else args.tasks
    most = len((*model.tasks, *model.further))
    chosen = args.variants or list(METHODS if args.all_methods else {"lenet": BARE}.get(args.model, VARIANTS))
    needed = set(chosen)
    while not needed >= (further := {KNOWN[name].reference for name in needed}):
        needed |= further
    args.variants = [name for name in KNOWN if name in needed]
    least = args.tasks if any(KNOWN[name].disjoint for name in args.variants) else 1
    rules = [
        (len(args.size) == 2 and min(args.size) >= 32, "--size must be HxW with both at least 32, e.g. 256x448"),
        (1 <= args.tasks <= most, f"--tasks must be 1 to {most}, got {args.tasks}"),
        (args.batch >= least, f"--batch must be at least --tasks ({args.tasks}), got {args.batch}"),
        (not args.all_methods or set(args.variants) <= set(METHODS), "--all-methods compares " + ", ".join(METHODS)),
        (args.rounds >= 0, f"--rounds must be at least 0, got {args.rounds}"),
        (args.threads >= 1, f"--threads must be at least 1, got {args.threads}"),
        (args.device == "cpu" or torch.cuda.is_available(), "--device cuda: torch finds no CUDA device; use cpu"),
        (args.device == "cuda" or STATUS.exists() or not args.memory, f"--memory needs Linux: there is no {STATUS}"),
    ]
    return next((message for fine, message in rules if not fine), "")


def main(arguments: Sequence[str] | None = None) -> Results:
    """Measures, prints the table, and writes the file."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="torch.meshgrid")  # in detectron2 0.6
    setting = Setting(args.model, args.size, args.batch, args.tasks, args.device)
    bench = Bench(setting)
    if args.probe:
        print(probe_memory(bench, args.probe))
        return {}
    results = measure(args, bench, list(sys.argv[1:] if arguments is None else arguments))
    machine = describe_machine(args.device)
    print(
        f"{args.model}, {args.tasks} tasks, {args.batch} images of {args.size[0]}x{args.size[1]}, {args.rounds} rounds"
    )
    print(", ".join(f"{key} {value}" for key, value in machine.items()) + "\n")
    print(format_methods(results, pick_clock(args.device)) if args.all_methods else format_table(results))
    if args.json:
        settings = {key: getattr(args, key) for key in ("model", "size", "batch", "tasks", "rounds", "device")}
        args.json.write_text(json.dumps({"machine": machine, "settings": settings, "variants": results}, indent=1))
    return results


def measure(args: argparse.Namespace, bench: Bench, given: Sequence[str]) -> Results:
    """All figures that are asked for, by variant; ``given`` is the command line."""
    results: Results = {name: {"reference": KNOWN[name].reference} for name in args.variants}
    parts: list[Results] = []
    if args.rounds:
        parts.append(measure_times(bench, args.variants, args.rounds))
    if args.flops:
        parts.append(measure_flops(bench, args.variants))
    if args.all_methods and args.rounds:
        update_s = parts[0]["mean"][f"{pick_clock(args.device)}_s"]
        parts.append(measure_shares(bench, args.variants, args.rounds, update_s))
    if args.memory:
        parts.append(measure_memory(given, args.variants, args.threads))
    for part in parts:
        for name, found in part.items():
            results[name].update(found)
    return results


if __name__ == "__main__":
    main()
