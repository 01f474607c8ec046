"""Whose labels a folder holds: what is there already is gone on with, or left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mtl_d2.data.errors import DataError
from mtl_d2.pseudo_labels.manifest import FILE, Manifest, TaskLabels, read_manifest, write_manifest

SHOWN = 12  # letters of a digest in a message


def claim_folder(folder: Path, planned: Mapping[str, TaskLabels], datasets: Iterable[str]) -> Manifest:
    """Enters in the manifest that ``datasets`` are to have labels of ``planned`` tasks.

    Args:
        folder: is made where it is not there.
        planned: by task, without data sets.
        datasets: names.

    Returns:
        the manifest, with None for what is not finished.

    Raises:
        DataError: the folder holds other things, or labels of such a task that another teacher or other thresholds
            made; one line for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FILE).exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DataError(
            f"--output {folder} holds other things than pseudo labels, or has lost its {FILE}: name an empty or a new "
            "folder"
        )
    manifest = read_manifest(folder) if (folder / FILE).exists() else {}
    lines = [
        f"--output {folder} has labels of task {task!r} {difference}: name another folder; a training takes several"
        for task, labels in planned.items()
        if task in manifest
        for difference in _differences(manifest[task], labels)
    ]
    if lines:
        raise DataError("\n".join(lines))
    for task, labels in planned.items():
        entry = manifest.setdefault(task, labels)
        for name in datasets:
            entry.datasets.setdefault(name, None)
    write_manifest(folder, manifest)
    return manifest


def _differences(there: TaskLabels, planned: TaskLabels) -> Iterator[str]:
    """The first thing in which labels differ from those that are planned."""
    before, now = there.teacher, planned.teacher
    if before.sha256 != now.sha256:
        yield (
            f"by other weights, {before.weights} (sha256 {before.sha256[:SHOWN]}), not {now.weights} "
            f"({now.sha256[:SHOWN]})"
        )
    elif there.thresholds != planned.thresholds:
        yield f"with other thresholds, {_shown(there.thresholds)}, not {_shown(planned.thresholds)}"
    elif before.settings != now.settings:
        yield f"by the same weights with other settings in MODEL, INPUT or TEST, those of {before.config}"
    elif there.classes != planned.classes:
        yield "with other classes"


def _shown(thresholds: Mapping[str, float]) -> str:
    return " and ".join(f"{name} {value:g}" for name, value in thresholds.items())
