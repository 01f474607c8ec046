"""Runs BDD100K's toolkit in an environment of its own, where nothing of this package is installed.

    python official_bdd100k.py JOB RESULTS

JOB is a JSON file ``{"semantic": [[folder of truth, folder of predictions], ...], "detection": [[label file, file of
predictions], ...]}``; RESULTS gets, for each pair, what the toolkit says.
"""

import json
import sys
from pathlib import Path

from bdd100k.common.utils import load_bdd100k_config
from bdd100k.eval.run import _load_frames
from bdd100k.eval.seg import evaluate_sem_seg
from scalabel.eval.detect import evaluate_det


def semantic(truth, predictions):
    found = evaluate_sem_seg(*(sorted(map(str, Path(folder).iterdir())) for folder in (truth, predictions)), nproc=1)
    return {**found.summary(), **{f"IoU-{name}": value for name, value in found.IoU[0].items()}}


def detection(truth, predictions):
    config = load_bdd100k_config("det")
    frames = _load_frames(truth, predictions, config, nproc=1)
    found = evaluate_det(*frames, config.scalabel, nproc=1)
    overall = {name: scores[-1]["OVERALL"] for name, scores in found.dict().items()}
    return {**overall, **{f"AP-{name}": value for name, value in found.AP[0].items()}}


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    kinds = {"semantic": semantic, "detection": detection}
    results = {kind: [kinds[kind](*pair) for pair in pairs] for kind, pairs in job.items()}
    Path(sys.argv[2]).write_text(json.dumps(results))
