#!/usr/bin/env python3
"""The main job in a few minutes on a CPU: makes sample scenes, trains on them with MCLGS and writes a report.

tools/demo.py [--compare] [--root DIR] [--output DIR] [--updates N] [--train N] [--val N] [--seed S]

With --compare the same network is also trained by detectron2's SimpleTrainer and with equal weights, for the same wall
time; the report of the MCLGS run has all of them in its table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import SimpleTrainer, hooks

from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.evaluation.constant import fit_constant_predictor
from mtl_d2.evaluation.results import add_results_row
from mtl_d2.report.page import write_report
from mtl_d2.results_file import own_row

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / "configs"
PROBE = 30  # updates that tell how long one takes


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="train SimpleTrainer and equal weights as well")
    parser.add_argument("--equal-updates", action="store_true", help="compare at equal updates, not at equal wall time")
    parser.add_argument("--root", type=Path, default=Path("datasets/sample_scenes"), help="folder of the scenes")
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="folder of the runs")
    parser.add_argument("--updates", type=int, default=None, help="length of the training (default: the config's)")
    parser.add_argument("--train", type=int, default=600, help="training scenes")
    parser.add_argument("--val", type=int, default=160, help="validation scenes")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Scenes, references, trainings, report."""
    args = parse()
    start = time.monotonic()
    say(f"scenes in {args.root}")
    make_scenes(args)
    os.environ["DETECTRON2_DATASETS"] = str(args.root)
    run = args.output / "mclgs"
    say(f"training with MCLGS; everything goes to {run}")
    train("sample_scenes_mclgs.yaml", run, args)
    cfg = load("sample_scenes_mclgs.yaml", run, args)
    say("references: the untrained network and the best constant predictor")
    torch.manual_seed(args.seed)
    add_results_row(run, "untrained", MultiTaskTrainer.test(cfg, MultiTaskTrainer.build_model(cfg)))
    add_results_row(run, "best constant", MultiTaskTrainer.test(cfg, fit_constant_predictor(cfg).eval()))
    if args.compare:
        compare(run, args)
    say(f"done in {(time.monotonic() - start) / 60:.1f} minutes; look at {write_report(run, title='Demo: MCLGS')}")


def compare(run: Path, args: argparse.Namespace) -> None:
    """Trains the other two for as long as MCLGS took, or as many updates, and adds their rows to its report."""
    updates = args.updates or load("sample_scenes_mclgs.yaml", run, args).SOLVER.MAX_ITER
    seconds = updates * seconds_per_update(run)
    length = f"{updates} updates" if args.equal_updates else f"{seconds:.0f} s"
    say(f"equal weights for the same {length}")
    own = args
    if not args.equal_updates:
        probe = args.output / "equal_probe"
        train("sample_scenes_equal.yaml", probe, of_length(args, PROBE), "DATASETS.TEST", "()")
        own = of_length(args, round(seconds / seconds_per_update(probe)))
    train("sample_scenes_equal.yaml", args.output / "equal", own)
    results = json.loads((args.output / "equal" / "results.json").read_text(encoding="utf-8"))
    add_results_row(run, f"equal weights ({own.updates or updates} updates)", results[own_row(results)])
    say(f"detectron2's SimpleTrainer for the same {length}")
    if not args.equal_updates:
        own = of_length(args, round(seconds / simple_training(of_length(args, PROBE))[1]))
    model, _ = simple_training(own)
    cfg = load("sample_scenes_equal.yaml", args.output / "simple_trainer", args)
    add_results_row(run, f"SimpleTrainer ({own.updates or updates} updates)", MultiTaskTrainer.test(cfg, model))


def of_length(args: argparse.Namespace, updates: int) -> argparse.Namespace:
    """``args`` with another number of updates."""
    return argparse.Namespace(**{**vars(args), "updates": updates})


def simple_training(args: argparse.Namespace) -> tuple[torch.nn.Module, float]:
    """The model after a training by detectron2's SimpleTrainer, and the median seconds of an update."""
    # SimpleTrainer clips each parameter by itself, the nearest that it knows to the config's clipping.
    clipping = ["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"]
    cfg = load("sample_scenes_equal.yaml", args.output / "simple_trainer", args, *clipping)
    torch.manual_seed(cfg.SEED)
    model = MultiTaskTrainer.build_model(cfg)
    optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
    trainer = SimpleTrainer(model, MultiTaskTrainer.build_train_loader(cfg), optimizer)
    schedule = MultiTaskTrainer.build_lr_scheduler(cfg, optimizer)
    trainer.register_hooks([hooks.IterationTimer(), hooks.LRScheduler(optimizer, schedule)])
    trainer.train(0, cfg.SOLVER.MAX_ITER)
    return model.eval(), statistics.median(value for value, _ in trainer.storage.history("time").values())


def seconds_per_update(run: Path) -> float:
    """Median over a run's log."""
    rows = [json.loads(line) for line in (run / "metrics.json").read_text(encoding="utf-8").splitlines()]
    return statistics.median(row["time"] for row in rows if "time" in row)


def make_scenes(args: argparse.Namespace) -> None:
    """The sample scenes in BDD100K's layout; does nothing where they are."""
    command = [TOOLS / "make_sample_scenes.py", "--root", args.root, "--train", args.train, "--val", args.val]
    options = ["--size", "320x192", "--seed", args.seed, "--preset", "easy", "--layouts", "bdd100k"]
    subprocess.run([sys.executable, *map(str, [*command, *options])], check=True)


def train(config: str, output: Path, args: argparse.Namespace, *overrides: str) -> None:
    """One training as a user would start it; continues one that was interrupted."""
    command = [TOOLS / "train_net.py", "--config-file", CONFIGS / config, "--resume", *options(output, args)]
    subprocess.run([sys.executable, *map(str, command), *overrides], check=True)


def options(output: Path, args: argparse.Namespace) -> list[str]:
    """Overrides of the config for this demo."""
    found = ["OUTPUT_DIR", str(output), "SEED", str(args.seed)]
    if args.updates:
        steps = tuple(round(share * args.updates) for share in (0.75, 0.92))
        found += ["SOLVER.MAX_ITER", str(args.updates), "SOLVER.STEPS", str(steps)]
    return found


def load(config: str, output: Path, args: argparse.Namespace, *overrides: str) -> Any:
    """The config of ``train``; the data sets are registered."""
    from train_net import parse, prepare

    return prepare(parse(["--config-file", str(CONFIGS / config), *options(output, args), *overrides]))


def say(text: str) -> None:
    """A line that stands out from the trainings' logs."""
    print(f"\n== demo: {text}", flush=True)


if __name__ == "__main__":
    main()
