"""Cityscapes' scripts on the files of an evaluation: by this package, and as they are, in a process of their own."""

import contextlib
import io
import json
import os
from importlib import import_module
from pathlib import Path

from mtl_d2.evaluation import cityscapes_process


def evaluate(folder):
    """Writes results.json as cityscapes_process does; returns what the scripts themselves say, None where they stop."""
    cityscapes_process.main(Path(folder, "job.json"), Path(folder, "results.json"))
    job = json.loads(Path(folder, "job.json").read_text())
    return {task: AS_THEY_ARE[task](pairs, folder) for task, pairs in job.items()}


def instances(pairs, folder):
    official = import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    official.args.JSONOutput = False
    official.args.predictionPath = os.path.dirname(pairs[0][0])
    official.args.gtInstancesFile = os.path.join(folder, "gtInstances.json")
    try:
        return percent(run(official, pairs)["averages"]["classes"], "ap")
    except IndexError:
        return None


def semantic(pairs, folder):
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    found = run(official, pairs)
    return {"mIoU": 100 * found["averageScoreClasses"], **percent(found["classScores"])}


def run(official, pairs):
    with contextlib.redirect_stdout(io.StringIO()):
        return official.evaluateImgLists([p for p, _ in pairs], [t for _, t in pairs], official.args)


def percent(scores, key=None):
    return {name: 100 * float(score[key] if key else score) for name, score in scores.items()}


AS_THEY_ARE = {"instance": instances, "semantic": semantic}
