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
    """AP over IoU 0.5:0.05:0.95 and AP50, of all classes and of each; NaN of a class without truth."""
    official = import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")

    official.writeDict2JSON = lambda *_: None  # type: ignore[attr-defined]  # it would fail on NumPy's integers, and its files are caches
    options = official.args
    options.quiet = True
    # Predicted masks must lie below this folder; the file of cached ground truth must not exist.
    options.predictionPath = os.path.dirname(os.path.abspath(pairs[0][0]))
    options.gtInstancesFile = os.path.join(options.predictionPath, "gtInstances.json")
    # What their evaluateImgLists does, but for the evaluation of matches.
    official.setInstanceLabels(options)
    predictions, truths = _columns(pairs)
    matches = official.matchGtWithPreds(predictions, truths, official.getGtInstances(truths, options), options)
    averages = official.computeAverages(_average_precisions(official, matches), options)
    metrics = {"AP": averages["allAp"], "AP50": averages["allAp50%"]}
    metrics.update({f"AP-{name}": scores["ap"] for name, scores in averages["classes"].items()})
    return _percent(metrics)


def _average_precisions(official: Any, matches: dict[str, Any]) -> np.ndarray:
    """The scripts' AP of each class at each overlap, (1, classes, overlaps).

    Each of them is asked for on its own: where objects are there, and all that is predicted lies on ignored regions,
    the scripts have an empty curve and stop. Nothing is found there, so AP is 0, as it is without predictions.
    """
    options = official.args
    labels, overlaps = options.instLabels, options.overlaps
    precisions = np.zeros((1, len(labels), len(overlaps)))
    for row, label in enumerate(labels):
        for column, overlap in enumerate(overlaps):
            options.instLabels, options.overlaps = [label], [overlap]
            try:
                precisions[0, row, column] = official.evaluateMatches(matches, options).item()
            except IndexError as error:
                if "size 0" not in str(error):
                    raise
    options.instLabels, options.overlaps = labels, overlaps
    return precisions


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


def supply_numpy() -> None:
    """Gives NumPy the function that the scripts take from it and that 2.4 has no more."""
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # type: ignore[attr-defined]


def _columns(pairs: Pairs) -> tuple[list[str], list[str]]:
    return [prediction for prediction, _ in pairs], [truth for _, truth in pairs]


def _percent(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in metrics.items()}


EVALUATIONS = {"instance": ("segm", evaluate_instances), "semantic": ("sem_seg", evaluate_semantic)}


def main(job: Path, results: Path) -> None:
    """Runs the evaluations that ``job`` has files for."""
    supply_numpy()
    pairs = json.loads(job.read_text(encoding="utf-8"))
    metrics = {EVALUATIONS[task][0]: EVALUATIONS[task][1](pairs[task]) for task in pairs}
    results.write_text(json.dumps(metrics), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
