"""The weights of a finished run, and whether its files belong together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_d2.comparison.state import CONFIG as STARTED
from mtl_d2.comparison.state import changes
from mtl_d2.config import leaves
from mtl_d2.data.file_digests import digest_of_file
from mtl_d2.engine.identity import run_of
from mtl_d2.engine.pickles import ForbiddenContentError, read_torch
from mtl_d2.report.file_names import CONFIG, METRICS, RESULTS
from mtl_d2.report.run import Run

FILE = "model_final.pth"
SHOWN = 3  # differences that a line names


class UnfitError(ValueError):
    """The files of a run do not belong together, or some are missing; the message is one line."""


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        sha256: of the file.
        records: a digest of the records of each training set, as the checkpoint has it.
    """

    sha256: str
    records: Mapping[str, str]


def read_weights(run: Run) -> Weights:
    """The final weights of a run.

    Raises:
        UnfitError: a file is missing, or of another run, config or evaluation.
    """
    path = run.folder / FILE
    missing = [name for name in (CONFIG, METRICS, RESULTS, FILE) if not (run.folder / name).is_file()]
    if missing:
        raise UnfitError(f"it has no {', no '.join(missing)}")
    try:
        content = read_torch(str(path), mmap=True)
    except (ValueError, ForbiddenContentError):
        raise UnfitError(f"{FILE} cannot be read as a checkpoint") from None
    mistake = next(_mistakes(run, content), None)
    if mistake:
        raise UnfitError(mistake)
    return Weights(digest_of_file(path), dict(content["trainer"].get("records", {})))


def _mistakes(run: Run, content: Any) -> Iterator[str]:
    trainer = content.get("trainer") if isinstance(content, Mapping) else None
    if not isinstance(trainer, Mapping) or "config" not in trainer:
        yield f"{FILE} holds weights alone, which do not say what they were trained with"
        return
    owner = run_of(run.folder)
    if owner and content.get("run") != owner:
        yield f"{FILE} is of another run than config.yaml"
    planned, done = run.setting("SOLVER.MAX_ITER"), int(content.get("iteration", -1)) + 1
    if done != planned:
        yield f"{FILE} is of update {done}, and config.yaml says {planned}"
    yield from _other_configs(run, trainer["config"])
    if (run.folder / RESULTS).stat().st_mtime < (run.folder / FILE).stat().st_mtime:
        yield f"{RESULTS} is older than {FILE}: evaluate again"
    yield from _other_results(run)


def _other_configs(run: Run, trained: str) -> Iterator[str]:
    """Where the checkpoint, or what a comparison started, has another config than the folder."""
    before, now = dict(leaves(yaml.safe_load(trained))), dict(leaves(run.config))
    lines = [f"{key} {value} -> {now.get(key)}" for key, value in before.items() if now.get(key) != value]
    lines = [line for line in lines if not line.startswith("OUTPUT_DIR ")]  # a folder may be moved
    if lines:
        yield f"{FILE} was trained with another config than config.yaml: {_some(lines)}"
    lines = changes(run.folder, run.config_text)
    if lines:
        yield f"config.yaml is not what the comparison started: {_some(lines)}"


def _other_results(run: Run) -> Iterator[str]:
    """Where the log's last evaluation, if it is of the last update, and results.json differ."""
    for group, metrics in run.last_evaluation().items():
        for name, logged in metrics.items():
            told = run.own_results.get(group, {}).get(name, math.nan)
            if math.isfinite(logged) and math.isfinite(told) and not math.isclose(logged, told, rel_tol=1e-9):
                yield f"{RESULTS} has {group}/{name} {told:.6g}, and the last evaluation in {METRICS} {logged:.6g}"
                return


def _some(lines: list[str]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs in ``folder``, itself included, sorted; there are none within a run's."""
    if any((folder / name).is_file() for name in (CONFIG, METRICS, STARTED)):
        return [folder]
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [run for path in below for run in runs_below(path)]
