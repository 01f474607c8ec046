"""Cityscapes' scripts on the files of an evaluation: by this package, and as they are, in a process of their own."""

import contextlib
import io
import json
import os
from importlib import import_module
from pathlib import Path

from mtl_d2.evaluation import cityscapes_process


def step(name, jobs, folder):
    """Stands for ``cityscapes_steps._run``; of ``count`` with what the scripts say of all, None where they stop."""
    results = []
    for i, job in enumerate(jobs):
        given, made = Path(folder, f"{name}_{i}.job"), Path(folder, f"{name}_{i}.json")
        given.write_text(json.dumps(job))
        cityscapes_process.main(name, given, made)
        results.append(json.loads(made.read_text()))
    if name == "score":
        return results, None
    every = {task: sorted((pair for job in jobs for pair in job[task]), key=lambda pair: pair[1]) for task in jobs[0]}
    return results, {task: AS_THEY_ARE[task](pairs, folder) for task, pairs in every.items()}


def instances(pairs, folder):
    official = import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    official.args.predictionPath = os.path.dirname(pairs[0][0])
    official.args.gtInstancesFile = os.path.join(folder, "gtInstances.json")
    try:
        found = run(official, pairs)["averages"]
        return {"AP": 100 * float(found["allAp"]), **percent(found["classes"], "ap")}
    except IndexError:
        return None


def semantic(pairs, folder):
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    found = run(official, pairs)
    averages = {name: 100 * float(found[key]) for name, key in AVERAGES.items()}
    return {**averages, **percent(found["classScores"])}


def run(official, pairs):
    official.args.JSONOutput = False
    official.writeDict2JSON = lambda *_: None  # fails on NumPy's integers, and writes caches into the working directory
    with contextlib.redirect_stdout(io.StringIO()):
        return official.evaluateImgLists([p for p, _ in pairs], [t for _, t in pairs], official.args)


def percent(scores, key=None):
    return {name: 100 * float(score[key] if key else score) for name, score in scores.items()}


AVERAGES = {
    "mIoU": "averageScoreClasses",
    "iIoU": "averageScoreInstClasses",
    "IoU_sup": "averageScoreCategories",
    "iIoU_sup": "averageScoreInstCategories",
}
AS_THEY_ARE = {"instance": instances, "semantic": semantic}
