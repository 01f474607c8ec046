"""``manifest.json`` of a folder of pseudo labels: whose labels of which tasks it has, for which data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mtl_d2.data.errors import DataError
from mtl_d2.files import write_atomically

FILE = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Teacher:
    """The network whose predictions are the labels.

    Attributes:
        config: path of its file.
        settings: digest of what in the config changes a prediction; see ``mtl_d2.pseudo_labels.teacher``.
        weights: path of the file.
        sha256: of that file.
    """

    config: str
    settings: str
    weights: str
    sha256: str


@dataclass
class TaskLabels:
    """The labels of one task.

    Attributes:
        classes: names by id.
        thresholds: those that its form of labels uses, by name.
        teacher: whose they are.
        datasets: by name, counts of images and of those that show something; None = not finished.
    """

    classes: list[str]
    thresholds: dict[str, float]
    teacher: Teacher
    datasets: dict[str, dict[str, int] | None] = field(default_factory=dict)


Manifest = dict[str, TaskLabels]  # by task


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        DataError: there is none, or it is not what ``write_manifest`` writes.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, known is {FORMAT}")
        return {task: _task_labels(given) for task, given in content["tasks"].items()}
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder} is no folder of pseudo labels, it has no {FILE}: give one that tools/pseudo_label.py wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read ({_reason(error)}), and it alone says whose labels the folder has: restore it, or "
            "delete the folder and label anew"
        ) from error


def tasks_of(folder: str) -> tuple[str, ...]:
    """The tasks that a folder has labels of; none where it cannot be read, of which the checks of the data tell."""
    try:
        return tuple(read_manifest(Path(folder)))
    except DataError:
        return ()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes it in one move; returns its path."""
    content = {"format": FORMAT, "tasks": {task: asdict(labels) for task, labels in manifest.items()}}
    return write_atomically(folder / FILE, json.dumps(content, indent=1) + "\n")


def unreadable(path: Path, error: Exception) -> str:
    """The line for a file of labels that is not what was written."""
    return (
        f"{path} cannot be read as pseudo labels ({_reason(error)}): restore it, or delete it and give the command of "
        "tools/pseudo_label.py again"
    )


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _task_labels(given: Mapping[str, Any]) -> TaskLabels:
    labels = TaskLabels(**{**given, "teacher": Teacher(**given["teacher"])})
    if not isinstance(labels.datasets, dict) or not isinstance(labels.classes, list):
        raise TypeError("datasets must be an object, classes a list")
    return labels
