"""Cityscapes' own evaluation, run by ``cityscapes.py`` in a process of its own.

    python -m mtl_d2.evaluation.cityscapes_process JOB RESULTS

cityscapesscripts 2.3 does not run with NumPy 2.4 as it is, keeps its settings in a global object, writes a file into
the working directory, and ends the process where something is wrong. So what it lacks is given to it here, where
nothing else is running. JOB is a JSON file ``{"instance": [[prediction, ground truth], ...], "semantic": ...}`` of
file names; RESULTS gets ``{"segm": {...}, "sem_seg": {...}}``, in percent.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Pairs = list[list[str]]


def evaluate_instances(pairs: Pairs) -> dict[str, float]:
    """AP over IoU 0.5:0.05:0.95 and AP50, of all classes and of each that occurs."""
    official = import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")

    official.writeDict2JSON = lambda *_: None  # type: ignore[attr-defined]  # it would fail on NumPy's integers, and its files are caches
    options = official.args
    options.JSONOutput, options.quiet = False, True
    # Predicted masks must lie below this folder; the file of cached ground truth must not exist.
    options.predictionPath = os.path.dirname(os.path.abspath(pairs[0][0]))
    options.gtInstancesFile = os.path.join(options.predictionPath, "gtInstances.json")
    averages = official.evaluateImgLists(*_columns(pairs), options)["averages"]
    metrics = {"AP": averages["allAp"], "AP50": averages["allAp50%"]}
    metrics.update({f"AP-{name}": scores["ap"] for name, scores in averages["classes"].items()})
    return _percent(metrics)


def evaluate_semantic(pairs: Pairs) -> dict[str, float]:
    """Mean IoU and instance-level IoU of the 19 classes and of their 7 categories, and the IoU of each class."""
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")

    options = official.args
    options.JSONOutput, options.quiet = False, True
    scores = official.evaluateImgLists(*_columns(pairs), options)
    metrics = {
        "mIoU": scores["averageScoreClasses"],
        "iIoU": scores["averageScoreInstClasses"],
        "IoU_sup": scores["averageScoreCategories"],
        "iIoU_sup": scores["averageScoreInstCategories"],
    }
    evaluated = {label.name for label in official.labels if not label.ignoreInEval}
    metrics.update({f"IoU-{k}": v for k, v in scores["classScores"].items() if k in evaluated})
    return _percent(metrics)


def _columns(pairs: Pairs) -> tuple[list[str], list[str]]:
    return [prediction for prediction, _ in pairs], [truth for _, truth in pairs]


def _percent(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in metrics.items()}


EVALUATIONS = {"instance": ("segm", evaluate_instances), "semantic": ("sem_seg", evaluate_semantic)}


def main(job: Path, results: Path) -> None:
    """Runs the evaluations that ``job`` has files for."""
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # type: ignore[attr-defined]  # gone in NumPy 2.4
    pairs = json.loads(job.read_text(encoding="utf-8"))
    found = {EVALUATIONS[task][0]: EVALUATIONS[task][1](pairs[task]) for task in pairs}
    results.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
