"""Cityscapes' own evaluation, run by ``cityscapes_steps.py`` in processes of its own.

    python -m mtl_d2.evaluation.cityscapes_process STEP JOB RESULTS

cityscapesscripts 2.3 does not run with NumPy 2.4 as it is, keeps its settings in a global object, and ends the process
where something is wrong. So what it lacks is given to it here, where nothing else is running. An evaluation has two
steps, so that several processes can share the first:

- ``count`` compares images, each on its own. JOB is a JSON file ``{"instance": [[prediction, ground truth], ...],
  "semantic": ...}`` of file names; RESULTS gets ``{"instance": {ground truth: counts}, "semantic": ...}``.
- ``score`` makes metrics of the counts of all images. JOB is ``{"instance": [[ground truth, counts], ...], ...}``, and
  RESULTS gets ``{"segm": {...}, "sem_seg": {...}}``, in percent.

What the scripts add up in floating point is kept number by number, so that the metrics do not depend on which process
has counted what. A step that fails says so in one line on standard error. All steps end when their standard input does,
as where the process that started them is killed.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Counts = dict[str, Any]  # of an image
Scored = Sequence[tuple[str, Counts]]  # the ground truth's file, and the counts of its image


def count_instances(prediction: str, truth: str) -> Counts:
    """Objects and predictions of an image, each with the others that it overlaps, as the scripts have them."""
    official, options = _instance_scripts()
    options.predictionPath = os.path.dirname(os.path.abspath(prediction))  # masks must lie below it
    objects = official.instances2dict([truth], False)
    (matched,) = official.matchGtWithPreds([prediction], [truth], objects, options).values()
    return matched


def score_instances(images: Scored) -> dict[str, float]:
    """AP over IoU 0.5:0.05:0.95 and AP50, of all classes and of each; NaN of a class without truth."""
    official, options = _instance_scripts()
    averages = official.computeAverages(_average_precisions(official, dict(images)), options)
    metrics = {"AP": averages["allAp"], "AP50": averages["allAp50%"]}
    metrics.update({f"AP-{name}": scores["ap"] for name, scores in averages["classes"].items()})
    return _percent(metrics)


def _instance_scripts() -> tuple[Any, Any]:
    official = import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    official.args.quiet = True
    official.setInstanceLabels(official.args)
    return official, official.args


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


class Terms:
    """Numbers to be added up later: the last bits of a sum depend on the order."""

    def __init__(self) -> None:
        """None yet."""
        self.numbers: list[float] = []

    def __iadd__(self, number: float) -> Terms:
        """Keeps a number."""
        self.numbers.append(number)
        return self


def count_pixels(prediction: str, truth: str) -> Counts:
    """``confusion``, pixels of each label id by predicted id, and ``terms``, what each object adds to each sum."""
    official, options = _pixel_scripts()
    confusion, sums = official.generateMatrix(options), official.generateInstanceStats(options)
    for _, of_name, key in _sums(sums):
        of_name[key] = Terms()
    pixels = official.evaluatePair(prediction, truth, confusion, sums, {}, options)
    if confusion.sum() != pixels:
        official.printError(f"{confusion.sum()} of its {pixels} pixels were counted")
    return {"confusion": confusion.tolist(), "terms": [of_name[key].numbers for _, of_name, key in _sums(sums)]}


def score_pixels(images: Scored) -> dict[str, float]:
    """Mean IoU and instance-level IoU of the 19 classes and of their 7 categories, and the IoU of each class."""
    official, options = _pixel_scripts()
    confusion, sums = official.generateMatrix(options), official.generateInstanceStats(options)
    for _, counts in images:
        confusion += np.array(counts["confusion"], confusion.dtype)
        for (_, of_name, key), terms in zip(_sums(sums), counts["terms"], strict=True):
            for number in terms:
                of_name[key] += number
    # As the end of their evaluateImgLists, which has no function of its own.
    names = {label: official.id2label[label].name for label in options.evalLabels}
    categories = official.category2labels
    classes = {name: official.getIouScoreForLabel(k, confusion, options) for k, name in names.items()}
    metrics = {
        "mIoU": classes,
        "iIoU": {n: official.getInstanceIouScoreForLabel(k, confusion, sums, options) for k, n in names.items()},
        "IoU_sup": {c: official.getIouScoreForCategory(c, confusion, options) for c in categories},
        "iIoU_sup": {c: official.getInstanceIouScoreForCategory(c, confusion, sums, options) for c in categories},
    }
    averages = {name: official.getScoreAverage(scores, options) for name, scores in metrics.items()}
    evaluated = {label.name for label in official.labels if not label.ignoreInEval}
    return _percent(averages | {f"IoU-{name}": iou for name, iou in classes.items() if name in evaluated})


def _pixel_scripts() -> tuple[Any, Any]:
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    official.args.quiet = True
    return official, official.args


def _sums(sums: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any], str]]:
    """Each sum of the scripts' instanceStats in their order: class or category, what holds it, its key."""
    return [
        (name, of_name, key)
        for by_name in sums.values()
        for name, of_name in by_name.items()
        for key in of_name
        if key != "labelIds"
    ]


def supply_numpy() -> None:
    """Gives NumPy the function that the scripts take from it and that 2.4 has no more."""
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # type: ignore[attr-defined]


def _percent(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in metrics.items()}


@dataclass(frozen=True)
class Evaluation:
    """Of a task.

    Attributes:
        group: of its metrics.
        count: the counts of an image.
        score: the metrics of all images.
    """

    group: str
    count: Callable[[str, str], Counts]
    score: Callable[[Scored], dict[str, float]]


EVALUATIONS = {
    "instance": Evaluation("segm", count_instances, score_instances),
    "semantic": Evaluation("sem_seg", count_pixels, score_pixels),
}


def count(job: dict[str, list[tuple[str, str]]]) -> dict[str, dict[str, Counts]]:
    """See the module."""
    return {
        task: {truth: _said_of(truth, EVALUATIONS[task].count, prediction, truth) for prediction, truth in pairs}
        for task, pairs in job.items()
    }


def score(job: dict[str, Scored]) -> dict[str, dict[str, float]]:
    """See the module."""
    return {
        EVALUATIONS[task].group: _said_of("all images", EVALUATIONS[task].score, images) for task, images in job.items()
    }


def _said_of(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the scripts gives.

    Raises:
        RuntimeError: one line with what it complains of; it may print that and end the process.
    """
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            return call(*arguments)
    except SystemExit as error:
        complaint = said.getvalue().removeprefix("ERROR: ")
        raise RuntimeError(f"{what}: {' '.join(complaint.split())}") from error
    except Exception as error:
        raise RuntimeError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _end_with_input() -> None:
    """Ends this process at once when its standard input ends."""
    while os.read(0, 1):
        pass
    os._exit(1)


STEPS: dict[str, Callable[[Any], Any]] = {"count": count, "score": score}


def main(step: str, job: Path, results: Path) -> None:
    """Runs a step; JOB and RESULTS as the module says."""
    supply_numpy()
    made = STEPS[step](json.loads(job.read_text(encoding="utf-8")))
    results.write_text(json.dumps(made, default=lambda number: number.item()), encoding="utf-8")  # NumPy's numbers


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
