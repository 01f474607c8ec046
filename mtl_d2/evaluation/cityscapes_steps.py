"""The steps of Cityscapes' own evaluation, in as many processes as there are CPUs for."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from mtl_d2.data.errors import DataError

PROCESSES = "MTL_D2_EVALUATION_PROCESSES"  # the environment variable
IMAGES = 4  # that a process has at least, if there are several: to start one takes as long as to count an image or two
LOOK = 0.02  # seconds between two looks whether a process has ended
TAIL = 2000  # characters of what a failed process said that are shown

Pairs = Sequence[tuple[str, str]]  # files of a prediction and of its ground truth
Counts = dict[str, dict[str, Any]]  # by task and by file of the ground truth


def processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes count: by the variable ``PROCESSES``, else this rank's share of the CPUs it may use.

    Raises:
        DataError: the variable is no whole number above 0.
    """
    wanted = environment.get(PROCESSES)
    if wanted is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, usable // comm.get_local_size())
    if not wanted.isdecimal() or int(wanted) < 1:
        raise DataError(f"{PROCESSES} must be a whole number above 0, got {wanted!r}: correct it, or unset it")
    return int(wanted)


def count(pairs: Mapping[str, Pairs], folder: Path, most: int) -> Counts:
    """What the scripts count in each image, by at most ``most`` processes.

    Args:
        pairs: by task.
        folder: for the files of the processes.
        most: processes; results do not depend on it.

    Raises:
        RuntimeError: a step failed; the message has what it said.
    """
    images = max(map(len, pairs.values()), default=0)
    shares = min(most, math.ceil(images / IMAGES))
    jobs = [{task: of_task[i::shares] for task, of_task in pairs.items()} for i in range(shares)]
    counts: Counts = {task: {} for task in pairs}
    for part in _run("count", jobs, folder):
        for task, images in part.items():
            counts[task].update(images)
    return counts


def score(counts: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, dict[str, float]]:
    """The metrics in percent by group, of counts of all images by task and by file of the ground truth.

    Raises:
        RuntimeError: see ``count``.
    """
    (metrics,) = _run("score", [{task: sorted(images.items()) for task, images in counts.items()}], folder)
    return metrics


def _run(step: str, jobs: Sequence[Any], folder: Path) -> list[Any]:
    """What a process for each job makes of it. However this ends, none is left running."""
    stems = [folder / f"{step}_{i}" for i in range(len(jobs))]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for stem, job in zip(stems, jobs, strict=True):
            stem.with_suffix(".job").write_text(json.dumps(job), encoding="utf-8")
            started.append(_start(step, stem))
        while any(process.poll() is None for process in started):
            _raise_failures(started, stems)
            time.sleep(LOOK)
        _raise_failures(started, stems)
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return [json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")) for stem in stems]


def _start(step: str, stem: Path) -> subprocess.Popen[bytes]:
    files = (stem.with_suffix(".job").name, stem.with_suffix(".json").name)
    command = [sys.executable, "-m", f"{__package__}.cityscapes_process", step, *files]
    # A user's settings for the scripts are not meant for this run.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CITYSCAPES_")}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    with stem.with_suffix(".said").open("wb") as said:
        return subprocess.Popen(
            command, cwd=stem.parent, env=environment, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        )


def _raise_failures(started: Sequence[subprocess.Popen[bytes]], stems: Sequence[Path]) -> None:
    for process, stem in zip(started, stems, strict=True):
        if process.poll():
            raise RuntimeError(_failure(process.returncode, stem.with_suffix(".said"), len(started)))


def _failure(code: int, said: Path, shares: int) -> str:
    if code < 0:
        fewer = f": if it was for memory, set {PROCESSES} below {shares}" if shares > 1 else ""
        return f"Cityscapes' scripts: a process was ended by signal {-code}{fewer}"
    return f"Cityscapes' scripts: {said.read_text(encoding='utf-8', errors='replace').strip()[-TAIL:]}"
