#!/usr/bin/env python3
"""Pseudo labels from end to end in a few minutes on a CPU: two teachers, their labels, and a student.

tools/demo_pseudo.py [--root DIR] [--output DIR] [--updates N] [--train N] [--val N] [--seed S]

The sample scenes in BDD100K's layout have boxes on some images and semantic maps on others. A network for each task
labels the images of the other; the same two-task network is then trained without and with these labels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import CONFIGS, TOOLS, make_scenes, say, train
from tabulate import tabulate

from mtl_d2.evaluation.delta import Metric, delta, direction
from mtl_d2.evaluation.results import add_results_row
from mtl_d2.report.page import write_report
from mtl_d2.results_file import own_row

DATASETS = ("bdd100k_det_train", "bdd100k_sem_seg_train")
TEACHERS = ("detection", "semantic")  # tasks, and ends of the names of their configs
UPDATES = 400
COLUMNS = ("bbox/AP", "bbox/AP50", "sem_seg/mIoU")
COUNTED = ("bbox/AP", "sem_seg/mIoU")  # in Delta
Row = dict[str, float]  # by group/metric


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("datasets/sample_scenes"), help="folder of the scenes")
    parser.add_argument("--output", type=Path, default=Path("output/demo_pseudo"), help="folder of runs and labels")
    parser.add_argument("--updates", type=int, default=UPDATES, help=f"length of each training ({UPDATES})")
    parser.add_argument("--train", type=int, default=600, help="training scenes")
    parser.add_argument("--val", type=int, default=160, help="validation scenes")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Scenes, teachers, labels, students, table."""
    args = parse()
    start = time.monotonic()
    say(f"scenes in {args.root}")
    make_scenes(args)
    os.environ["DETECTRON2_DATASETS"] = str(args.root)
    labels, student = args.output / "labels", args.output / "with"
    for task in TEACHERS:
        say(f"the teacher of {task}")
        train(f"sample_scenes_{task}.yaml", args.output / task, args)
        say(f"its labels of all images, in {labels}")
        label(task, labels, args)
    say("both tasks, without pseudo labels")
    train("sample_scenes_equal.yaml", args.output / "without", args)
    say("both tasks, with pseudo labels")
    train("sample_scenes_pseudo.yaml", student, args, "MTL.PSEUDO_LABELS.FOLDERS", f"['{labels}']")
    rows = {
        "teachers": {key: value for task in TEACHERS for key, value in results(args.output / task).items()},
        "without pseudo labels": results(args.output / "without"),
        "with pseudo labels": results(student),
    }
    for name in ("teachers", "without pseudo labels"):
        add_results_row(student, name, grouped(rows[name]))
    report = write_report(student, title="Demo: pseudo labels")
    say(f"done in {(time.monotonic() - start) / 60:.1f} minutes; look at {report}")
    print(table(rows))


def label(task: str, labels: Path, args: argparse.Namespace) -> None:
    """Labels the images of both data sets as a user would; goes on where it was interrupted."""
    command = [TOOLS / "pseudo_label.py", "--config-file", CONFIGS / f"sample_scenes_{task}.yaml"]
    weights = ["--weights", args.output / task / "model_final.pth", "--datasets", *DATASETS]
    subprocess.run([sys.executable, *map(str, [*command, *weights, "--output", labels])], check=True)


def results(run: Path) -> Row:
    """What a training came to."""
    content = json.loads((run / "results.json").read_text(encoding="utf-8"))
    row = content[own_row(content)]
    return {f"{group}/{name}": value for group, metrics in row.items() for name, value in metrics.items()}


def grouped(row: Row) -> dict[str, dict[str, float]]:
    """As files of results have it."""
    groups: dict[str, dict[str, float]] = {}
    for key, value in row.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = value
    return groups


def table(rows: Mapping[str, Row]) -> str:
    """The metrics, and Delta against the teachers by MCLGS's convention: negative is better."""
    metrics = [Metric(name, name.partition("/")[0], bool(direction(name))) for name in COUNTED]
    base = next(iter(rows.values()))
    body: list[list[Any]] = [
        [name, *(row[column] for column in COLUMNS), delta("mclgs", row, base, metrics)] for name, row in rows.items()
    ]
    return tabulate(body, headers=["", *COLUMNS, "Delta %"], floatfmt=".2f", tablefmt="pipe")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # what went wrong is said by the command that failed
