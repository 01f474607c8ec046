#!/usr/bin/env python3
"""Counts what one update asks of a GPU: kernels, waits of the host, busy time; for variants of ``benchmark.py``.

tools/profile_update.py [--model r50] [--size 800x1344] [--batch 2] [--variants simple joint mclgs] [--json FILE]

A wait is a call that returns only when the device has caught up. Without a GPU (``--device cpu``) operators are counted
instead of kernels.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmark_models import MODELS, Setting
from benchmark_variants import SPEED, VARIANTS, Bench, make_update
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

WARM_UP = 3  # updates before the profile
UPDATES = 3  # in the profile
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize")
KNOWN = VARIANTS | SPEED


def profile_variant(bench: Bench, name: str) -> dict[str, float]:
    """Counts and milliseconds of an update, means over ``UPDATES``."""
    trainer = bench.trainer(KNOWN[name])
    for _ in range(WARM_UP):
        make_update(trainer)
    on_gpu = bench.setting.device == "cuda"
    start = time.perf_counter()
    for _ in range(UPDATES):
        make_update(trainer)
    wall = (time.perf_counter() - start) / UPDATES
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        for _ in range(UPDATES):
            make_update(trainer)
    return {"wall_ms": 1000 * wall} | (count_kernels if on_gpu else count_operators)(found)


def count_kernels(found: Any) -> dict[str, float]:
    """What the device ran, and how often the host waited for it. The benchmark's own wait at the end is left out."""
    events = found.events()
    on_device = [event for event in events if event.device_type == DeviceType.CUDA]
    kernels = [event for event in on_device if not event.name.startswith(("Memcpy", "Memset"))]
    copies = [event for event in on_device if event.name.startswith("Memcpy DtoH")]
    waits = [event for event in events if event.name in WAITS]
    return {
        "kernels": len(kernels) / UPDATES,
        "copies_to_host": len(copies) / UPDATES,
        "waits": len(waits) / UPDATES - 1,
        "busy_ms": sum(event.time_range.elapsed_us() for event in on_device) / UPDATES / 1000,
    }


def count_operators(found: Any) -> dict[str, float]:
    """How many operators were called."""
    operators = [event for event in found.events() if event.name.startswith("aten::")]
    return {"operators": len(operators) / UPDATES}


def format_table(results: dict[str, dict[str, float]]) -> str:
    """Markdown, a row for each variant."""
    columns = list(next(iter(results.values())))
    lines = ["| variant | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| `{name}` | " + " | ".join(f"{row[c]:.1f}" for c in columns) + " |" for name, row in results.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=[m for m in MODELS if m != "lenet"], default="r50")
    parser.add_argument("--size", metavar="HxW", help="image size in pixels (default: the model's)")
    parser.add_argument("--batch", type=int, metavar="B", help="images of a batch (default: the model's)")
    parser.add_argument("--variants", nargs="+", choices=list(KNOWN), default=["simple", "joint", "mclgs"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device; use cpu")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="torch.meshgrid")  # in detectron2 0.6
    model = MODELS[args.model]
    height, width = (int(x) for x in args.size.split("x")) if args.size else model.size
    bench = Bench(Setting(args.model, (height, width), args.batch or model.batch, len(model.tasks), args.device))
    results = {name: profile_variant(bench, name) for name in args.variants}
    print(format_table(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
