"""Where the labels of one task of one data set are in a folder."""

from __future__ import annotations

from pathlib import Path

SHEET = "contact_sheet.png"  # in the folder of a data set


def file_stem(task: str) -> str:
    """How the names of a task's files begin."""
    return task.replace("/", "_")


def labels_file(folder: Path, dataset: str, task: str) -> Path:
    """The JSON."""
    return folder / dataset / f"{file_stem(task)}.json"


def files_folder(folder: Path, dataset: str, task: str) -> Path:
    """What the labels have beside their JSON."""
    return folder / dataset / file_stem(task)


def parts_folder(folder: Path, dataset: str, task: str) -> Path:
    """The JSONs of parts of the data set, until all are there."""
    return folder / dataset / f"{file_stem(task)}.parts"
