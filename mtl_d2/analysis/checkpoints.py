"""Which weights of a run are analyzed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.engine.identity import run_of
from mtl_d2.engine.pickles import read_torch
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.run_folder import BEST, FILES, find_weights

EVERY = "all"


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights.

    Attributes:
        path: of the file.
        updates: that were made before it was written; None where the file does not say.
    """

    path: Path
    updates: int | None

    @property
    def label(self) -> str:
        """For an axis."""
        return self.path.stem.removeprefix("model_") if self.updates is None else str(self.updates)


def checkpoints(run: Path, asked: Sequence[str]) -> tuple[list[Checkpoint], list[str]]:
    """Those that are asked for, in the order of their updates.

    Args:
        run: ``OUTPUT_DIR`` of a training.
        asked: "all", "best", "final", names of files in ``run``, or paths.

    Returns:
        the checkpoints, of one update one; and a line for each file of "all" that cannot be read.

    Raises:
        AnalysisError: there is none, or not the one that is asked for.
    """
    chosen: list[Checkpoint] = []
    faults: list[str] = []
    for name in dict.fromkeys(asked):
        try:
            chosen += _all(run, faults) if name == EVERY else [_read(find_weights(run, name))[0]]
        except PredictionError as error:
            raise AnalysisError(str(error).replace("--weights", "--checkpoints")) from error
    once = {(c.updates if c.updates is not None else c.path): c for c in reversed(chosen)}
    return sorted(once.values(), key=lambda c: (c.updates is None, c.updates or 0, c.path)), faults


def _all(run: Path, faults: list[str]) -> list[Checkpoint]:
    """The run's own, without the best one, which is one of them or of an update that nothing else was kept of."""
    owner, kept = run_of(run), []
    for path in sorted(path for path in run.glob("*.pth") if path.name != FILES[BEST]):
        try:
            checkpoint, of = _read(path)
        except AnalysisError as error:
            faults.append(str(error))
        else:
            kept += [checkpoint] if owner in (None, of) or not of else []
    if not kept and faults:
        raise AnalysisError(f"no checkpoint of {run} can be read: {faults[0]}")
    return kept or [_read(find_weights(run))[0]]  # the best one, where there is nothing else


def _read(path: Path) -> tuple[Checkpoint, str]:
    """A checkpoint, and the run that wrote it."""
    try:
        content = read_torch(str(path), mmap=True)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    if not isinstance(content, Mapping) or "model" not in content:
        raise AnalysisError(f"{path} is no checkpoint of a training: it has no 'model'")
    updates = content.get("iteration")
    return Checkpoint(path, None if updates is None else int(updates) + 1), str(content.get("run", ""))
