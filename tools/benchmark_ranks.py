#!/usr/bin/env python3
"""Measures the update of several processes, relative to DistributedDataParallel with detectron2's SimpleTrainer.

tools/benchmark_ranks.py [--model small|r18|r50] [--processes N] [--rounds R] [--json FILE]

All variants update the same model in turn, on gloo and the CPU; a ratio is the median over the rounds of the wall time
of the slowest process by that of DDP in the same round. See docs/distributed.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from itertools import repeat
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits would count as busy; torch reads it once

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from benchmark_models import MODELS, Setting
from benchmark_variants import JOINT, MCLGS, Bench, build_cfg, make_update
from detectron2.engine import SimpleTrainer, TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch.nn.parallel import DistributedDataParallel

from mtl_d2.data.allocation.full import Full
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.parallel.all_ranks import AllRanks

WARM_UP = 2  # rounds that do not count
REFERENCE = "ddp"
VARIANTS = {  # overrides of the balancer's config, and how rows travel
    "joint": (JOINT, "auto"),
    "mclgs all_reduce": (MCLGS, "all_reduce"),
    "mclgs reduce_scatter": (MCLGS, "reduce_scatter"),
}


def build_trainers(setting: Setting) -> dict[str, TrainerBase]:
    """A trainer for each variant, of one model, each with this process's batch."""
    bench = Bench(setting)
    batches = repeat(bench.batches[False])
    wrapped = DistributedDataParallel(bench.model, broadcast_buffers=False)
    trainers: dict[str, TrainerBase] = {REFERENCE: SimpleTrainer(wrapped, batches, bench.optimizer)}
    for name, (overrides, communication) in VARIANTS.items():
        balancer = build_balancer(build_cfg(setting, overrides))
        full = Full(balancer.setup, setting.batch)
        reduction = AllRanks(communication)
        trainers[name] = MultiTaskLoop(
            bench.model, bench.optimizer, balancer, lambda start: batches, full, reduction=reduction
        )
    for trainer in trainers.values():
        trainer.storage = EventStorage(0)
    return trainers


def work(rank: int, processes: int, rounds: int, setting: Setting, folder: str) -> None:
    """One process: leaves the seconds of its updates, and the bytes that it sent, in ``folder``."""
    torch.set_num_threads(1)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(processes)
    trainers = build_trainers(setting)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for round_number in range(WARM_UP + rounds):
        for name in trainers if round_number % 2 else reversed(list(trainers)):
            dist.barrier()
            start = time.perf_counter()
            make_update(trainers[name])
            if round_number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    sent = {
        name: sum(trainers[name].oracle.reduction.collectives.sent.values()) / (WARM_UP + rounds) for name in VARIANTS
    }
    sent[REFERENCE] = 2 * (processes - 1) / processes * 4 * sum(p.numel() for p in trainers["joint"].oracle.shared)
    sent[REFERENCE] += (
        2 * (processes - 1) / processes * 4 * sum(p.numel() for own in trainers["joint"].oracle.heads for p in own)
    )
    Path(folder, f"{rank}.json").write_text(json.dumps({"seconds": seconds, "sent": sent}))
    dist.destroy_process_group()


def measure(processes: int, rounds: int, setting: Setting) -> dict[str, dict[str, float]]:
    """For each variant the median seconds of an update, the median ratio to DDP, and the bytes that a process sends."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (processes, rounds, setting, folder), nprocs=processes)
        found = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(processes)]
    slowest = {
        name: [max(times) for times in zip(*(one["seconds"][name] for one in found), strict=True)]
        for name in found[0]["seconds"]
    }
    return {
        name: {
            "wall_s": statistics.median(times),
            "ratio": statistics.median(a / b for a, b in zip(times, slowest[REFERENCE], strict=True)),
            "mbytes_sent": found[0]["sent"][name] / 1e6,
        }
        for name, times in slowest.items()
    }


def main() -> None:
    """Measures, prints the table, and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=list(MODELS), default="small", help="network (default: %(default)s)")
    parser.add_argument("--processes", type=int, metavar="N", default=2, help="processes (default: %(default)s)")
    parser.add_argument("--batch", type=int, metavar="B", default=2, help="images of a process (default: %(default)s)")
    parser.add_argument("--rounds", type=int, metavar="R", default=7, help="rounds that count (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    args = parser.parse_args()
    if min(args.processes - 1, args.batch, args.rounds) < 1:
        parser.error("--processes must be at least 2, --batch and --rounds at least 1")
    setting = Setting(args.model, MODELS[args.model].size, args.batch, 2, "cpu")
    results = measure(args.processes, args.rounds, setting)
    print(f"{args.model}, {args.processes} gloo processes, {args.batch} images each, {args.rounds} rounds\n")
    print("| variant | wall s | ratio to DDP | MB sent |\n| --- | ---: | ---: | ---: |")
    for name, row in results.items():
        print(f"| `{name}` | {row['wall_s']:.3f} | **{row['ratio']:.3f}** | {row['mbytes_sent']:.2f} |")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
