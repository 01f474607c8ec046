#!/usr/bin/env python3
"""What a machine with a GPU is good for, in one command: tests on the device, then figures, the most wanted first.

tools/gpu_check.py [--minutes M] [--json FILE] [--only BLOCK ...]
tools/gpu_check.py --device cpu --smoke        # every block once, on a small network: whether the command itself works

Each block runs in a process of its own with a time limit of its own, and its figures are in FILE as soon as it ends: a
machine that goes away, or a block that fails, costs that block alone. The same command with the same FILE goes on
with the blocks that are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / os.environ.get("DETECTRON2_DATASETS", "datasets")  # as blocks see it, which run in ROOT
TAIL = 4000  # characters of a block's output that are kept


@dataclass(frozen=True)
class Block:
    """One thing to find out.

    Attributes:
        about: in a line.
        command: program and arguments; ``{folder}`` takes its figures, as ``figures.json`` or a training's results;
            ``{device}`` is the device measured, which is given to what writes ``figures.json`` as an option.
        smoke: arguments in the place of ``full``'s for the smallest run.
        full: arguments for the figures.
        seconds: time limit.
        data: folder below ``DETECTRON2_DATASETS`` without which it is left out.
    """

    about: str
    command: tuple[str, ...]
    full: tuple[str, ...] = ()
    smoke: tuple[str, ...] = ()
    seconds: float = 120
    data: str = ""


FIGURES = ("figures.json", "results.json")
BENCHMARK = ("tools/benchmark.py", "--json", "{folder}/figures.json")
PROFILE = ("tools/profile_update.py", "--json", "{folder}/figures.json")
LARGE = ("--model", "r50", "--size", "800x1344", "--batch", "2")
SMALL = ("--model", "small", "--size", "64x96", "--batch", "2")
ONE = (*SMALL, "--rounds", "1")
BLOCKS = {
    "tests": Block(
        "tests that need the device", ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/engine/test_cuda.py")
    ),
    "update": Block(
        "an update in float32",
        BENCHMARK,
        (*LARGE, "--rounds", "10", "--variants", "simple", "joint", "mclgs", "naive", "torchjd-lean", "mclgs-disjoint"),
        (*ONE, "--variants", "joint", "mclgs"),
    ),
    "kernels": Block(
        "kernels and waits of an update", PROFILE, LARGE, (*SMALL, "--variants", "joint", "mclgs"), seconds=90
    ),
    "half": Block(
        "an update in half precision",
        BENCHMARK,
        (*LARGE, "--rounds", "10", "--variants", "joint-float16", "mclgs-float16", "joint-bfloat16", "mclgs-bfloat16"),
        (*ONE, "--variants", "mclgs"),
    ),
    "methods": Block(
        "the methods on an update", BENCHMARK, (*LARGE, "--rounds", "5", "--all-methods"), (*ONE, "--all-methods")
    ),
    "mask rcnn": Block(
        "an update of Mask R-CNN",
        BENCHMARK,
        (
            "--model",
            "rcnn-r50",
            "--size",
            "800x1344",
            "--rounds",
            "10",
            "--variants",
            "simple",
            "joint",
            "sta",
            "mclgs",
        ),
        ("--model", "rcnn-small", "--rounds", "1", "--variants", "mclgs"),
    ),
    "memory": Block(
        "peak memory",
        BENCHMARK,
        (*LARGE, "--rounds", "0", "--memory", "--variants", "joint", "mclgs", "naive", "torchjd", "torchjd-lean"),
        (*SMALL, "--rounds", "0", "--memory", "--variants", "mclgs"),
    ),
    "channels last": Block(
        "an update with channels last",
        BENCHMARK,
        (*LARGE, "--rounds", "10", "--variants", "joint-channels-last", "mclgs-channels-last"),
        (*ONE, "--variants", "mclgs-channels-last"),
    ),
    "lenet": Block(
        "an update of a small network",
        BENCHMARK,
        ("--model", "lenet", "--rounds", "100"),
        ("--model", "lenet", "--rounds", "1"),
    ),
    "compiled": Block(
        "an update with a compiled trunk",
        BENCHMARK,
        (*LARGE, "--rounds", "10", "--variants", "joint-compiled", "mclgs-compiled"),
        (*ONE, "--variants", "mclgs"),
        seconds=180,
    ),
    "recompute": Block(
        "an update that computes the trunk's activations again",
        BENCHMARK,
        (
            *("--model", "r50", "--size", "512x896", "--batch", "4", "--rounds", "10", "--memory"),
            *("--variants", "joint", "joint-recompute", "mclgs", "mclgs-recompute"),
        ),
        (*ONE, "--variants", "mclgs-recompute"),
    ),
    "multi mnist": Block(
        "a training on Multi-MNIST at the paper's length",
        (
            *("tools/train_net.py", "--config-file", "configs/multi_mnist_equal.yaml"),
            *("OUTPUT_DIR", "{folder}", "MODEL.DEVICE", "{device}"),
        ),
        ("MTL.CHANNELS_LAST", "False"),
        ("SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0"),
        seconds=480,
        data="mnist",
    ),
}


def run(block: Block, smoke: bool, device: str, seconds: float) -> dict[str, Any]:
    """Figures, output and seconds of one block."""
    with tempfile.TemporaryDirectory() as folder:
        words = (*block.command, *(block.smoke if smoke else block.full))
        command = [word.replace("{folder}", folder).replace("{device}", device) for word in words]
        if any("figures.json" in word for word in words):
            command += ["--device", device]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=seconds, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            status, output = None, (error.stdout or b"").decode(errors="replace")
        found = {"status": status, "seconds": round(time.perf_counter() - start, 1), "command": " ".join(command)}
        found["output"] = output[-TAIL:]
        for figures in (Path(folder, name) for name in FIGURES):
            if figures.is_file():
                found["figures"] = json.loads(figures.read_text(encoding="utf-8"))
        return found


def has_data(block: Block) -> bool:
    """Whether what it reads is on this machine."""
    return not block.data or (DATA / block.data).is_dir()


def machine(device: str) -> dict[str, str]:
    """What the figures are to be read with."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": sys.version.split()[0],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the blocks that the file lacks, until the minutes are over; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9, help="no block begins later (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", default=Path("gpu_check.json"))
    parser.add_argument("--only", nargs="+", choices=list(BLOCKS), default=list(BLOCKS), metavar="BLOCK")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="the smallest run of every block")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; whether the command works is tried by --device cpu --smoke")
    end = time.monotonic() + 60 * args.minutes
    known = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else {}
    found = {"machine": machine(args.device), "blocks": known.get("blocks", {})}
    for name in args.only:
        left = end - time.monotonic()
        if found["blocks"].get(name, {}).get("status") == 0 or left <= 0:
            continue
        if not has_data(BLOCKS[name]):
            print(f"== {name}: left out, {DATA / BLOCKS[name].data} is not there\n", flush=True)
            continue
        print(f"== {name}: {BLOCKS[name].about}", flush=True)
        block = run(BLOCKS[name], args.smoke, args.device, min(BLOCKS[name].seconds, left))
        print(f"{block['output']}\n== {name}: status {block['status']}, {block['seconds']} s\n", flush=True)
        found["blocks"][name] = block
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    wanted = [name for name in args.only if has_data(BLOCKS[name])]
    failed = [name for name in wanted if found["blocks"].get(name, {}).get("status") != 0]
    print(f"figures: {args.json}" + (f"; not done: {', '.join(failed)}" if failed else ""))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
