#!/usr/bin/env python3
"""Compares the cosines and norms of task gradients in half precision with those in float32 and float64.

    python tools/make_sample_scenes.py --root datasets/precision --train 8 --val 2 --size 448x256
    python tools/compare_precision.py --root datasets/precision [--size 256x448] [--batches 4]

One model, on the CPU unless --device says otherwise, with the same parameters in all precisions. See
docs/precision_and_memory.md.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmark_models import MODELS, Setting
from benchmark_variants import Bench, build_cfg
from detectron2.utils.events import EventStorage
from torch import Tensor

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.balancing.exact.rows import cosines, gramian
from mtl_d2.data import build_train_loader, register_all

KINDS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def measure_batch(bench: Bench, reference: Any, samples: list[dict]) -> dict[str, Tensor]:
    """The Gramian of one batch in each precision."""
    found = {"float64": take_gramian(reference, samples, Precision())}
    for kind, dtype in KINDS.items():
        precision = Precision(dtype)
        found[kind] = take_gramian(bench.model, samples, precision)
        while precision.scale > 1 and not found[kind].isfinite().all():  # as an update that overflows
            precision.update(overflowed=True)
            found[kind] = take_gramian(bench.model, samples, precision)
    return found


def take_gramian(model: Any, samples: list[dict], precision: Precision) -> Tensor:
    """(T, T) of the task gradients, from where the loss normalizer starts."""
    model.loss_normalizer.fill_(300)
    oracle = Oracle(model, precision=precision)
    oracle.load(samples)
    with EventStorage(), torch.jit.optimized_execution(False):
        return gramian(oracle.gradients().rows).cpu()


def format_table(found: list[dict[str, Tensor]]) -> str:
    """Markdown: the cosine of each batch, its largest error against float64, and the largest of the norms' errors."""
    exact = [cosines(one["float64"])[0, 1].item() for one in found]
    lines = [
        f"| precision | {' | '.join(f'batch {k}' for k in range(len(found)))} | largest error | median | norm |",
        "|" + " --- |" * (len(found) + 4),
        f"| float64 | {' | '.join(f'{x:.6f}' for x in exact)} | | | |",
    ]
    for kind in KINDS:
        values = [cosines(one[kind])[0, 1].item() for one in found]
        errors = [abs(x - y) for x, y in zip(values, exact, strict=True)]
        ratios = [(one[kind].diagonal() / one["float64"].diagonal()).sqrt() for one in found]
        norm = max(float((ratio - 1).abs().max()) for ratio in ratios)
        shown = " | ".join(f"{x:.6f}" for x in values)
        lines.append(f"| {kind} | {shown} | {max(errors):.1e} | {statistics.median(errors):.1e} | {norm:.1e} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of sample scenes")
    parser.add_argument("--model", choices=list(MODELS), default="r50", help="network (default: %(default)s)")
    parser.add_argument("--size", metavar="HxW", help="image size in pixels (default: the model's)")
    parser.add_argument("--batches", type=int, default=4, metavar="N", help="of two images (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message="torch.meshgrid")  # in detectron2 0.6
    register_all(str(args.root))
    height, width = (int(x) for x in args.size.split("x")) if args.size else MODELS[args.model].size
    setting = Setting(args.model, (height, width), 2, 2, args.device)
    options = ["INPUT.MIN_SIZE_TRAIN", f"({height},)", "INPUT.MAX_SIZE_TRAIN", str(max(height, width))]
    options += ["DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2", "MTL.DATA.PER_DATASET", "(1, 1)"]
    cfg = build_cfg(setting, options)
    bench = Bench(setting)
    reference = copy.deepcopy(bench.model).double()
    batches = iter(build_train_loader(cfg))
    print(format_table([measure_batch(bench, reference, next(batches)) for _ in range(args.batches)]))


if __name__ == "__main__":
    main()
