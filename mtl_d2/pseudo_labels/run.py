"""The labelling of data sets by several processes that share the images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from torch import nn

from mtl_d2.data.annotations import evaluation_records
from mtl_d2.data.errors import DataError
from mtl_d2.data.file_digests import digest_of_file
from mtl_d2.engine.trained import load_trained
from mtl_d2.files import WriteError
from mtl_d2.locks import lock_folder
from mtl_d2.pseudo_labels.claim import claim_folder
from mtl_d2.pseudo_labels.folder import form_of
from mtl_d2.pseudo_labels.image_names import image_name
from mtl_d2.pseudo_labels.labelling import label_parts
from mtl_d2.pseudo_labels.manifest import Manifest, TaskLabels, Teacher, read_manifest, write_manifest
from mtl_d2.pseudo_labels.parts import Target, missing_parts, target_of
from mtl_d2.pseudo_labels.places import SHEET, labels_file, parts_folder
from mtl_d2.pseudo_labels.progress import Progress
from mtl_d2.pseudo_labels.sheet import write_sheet
from mtl_d2.pseudo_labels.teacher import settings_digest, wrong_classes
from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.tasks.base import TaskKind

Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """What is to be labelled.

    Attributes:
        cfg: of the teacher, with its weights.
        config_file: path of it.
        kinds: the tasks.
        datasets: names.
        thresholds: of the labels.
        folder: for them.
    """

    cfg: CfgNode
    config_file: Path
    kinds: Sequence[TaskKind]
    datasets: Sequence[str]
    thresholds: Thresholds
    folder: Path


def run(plan: Plan, say: Callable[[str], None]) -> None:
    """Labels all data sets of a plan that are not labelled yet, with a contact sheet of each.

    Args:
        plan: the same in all processes.
        say: prints a line; it is called on the first process.

    Raises:
        CheckpointError: the weights cannot be read, or are of another network.
        DataError: the classes, the data or the folder do not fit.
        WriteError: the disk does not take the labels.
    """
    model, classes = load_trained(plan.cfg, plan.kinds)
    wrong = list(wrong_classes(plan.kinds, classes, plan.datasets))
    if wrong:
        raise DataError("\n".join(wrong))
    held = on_first(lambda: _hold(plan, classes))
    try:
        for dataset in plan.datasets:
            _label(plan, model, classes, dataset, say)
    finally:
        if held is not None:
            held.close()


def _hold(plan: Plan, classes: Mapping[str, list[str]]) -> Any:
    """Enters what is planned in the manifest, of a folder that others are kept from while the result is open."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    held = lock_folder(plan.folder)
    if held is None:
        raise DataError(f"--output {plan.folder}: another process labels into it: wait for it, or name another folder")
    weights = Path(PathManager.get_local_path(plan.cfg.MODEL.WEIGHTS)).resolve()
    settings = settings_digest(plan.cfg)
    teacher = Teacher(str(plan.config_file.resolve()), settings, str(weights), digest_of_file(weights))
    given = asdict(plan.thresholds)
    planned = {
        kind.task: TaskLabels(classes[kind.task], {name: given[name] for name in form_of(kind).thresholds}, teacher)
        for kind in plan.kinds
    }
    try:
        claim_folder(plan.folder, planned, plan.datasets)
    except BaseException:
        held.close()
        raise
    return held


def _label(
    plan: Plan, model: nn.Module, classes: Mapping[str, list[str]], dataset: str, say: Callable[[str], None]
) -> None:
    manifest = on_all(lambda: read_manifest(plan.folder))
    kinds = [kind for kind in plan.kinds if not _is_finished(plan.folder, dataset, kind, manifest)]
    first = comm.is_main_process()
    records = evaluation_records(dataset)
    if kinds:
        _label_for(kinds, plan, model, classes, dataset, records, say)
    elif first:
        say(f"{dataset}: labelled already")
    if kinds or not (plan.folder / dataset / SHEET).is_file():
        sheet = on_first(lambda: write_sheet(plan.folder, dataset, records))
        if first:
            say(f"look at {sheet}")


def _is_finished(folder: Path, dataset: str, kind: TaskKind, manifest: Manifest) -> bool:
    """Whether there is nothing to label; a JSON may have been deleted to have it made again."""
    finished = bool(manifest[kind.task].datasets[dataset]) and labels_file(folder, dataset, kind.task).is_file()
    if finished and comm.is_main_process():
        shutil.rmtree(parts_folder(folder, dataset, kind.task), ignore_errors=True)  # a kill may have left it
    return finished


def _label_for(
    kinds: Sequence[TaskKind],
    plan: Plan,
    model: nn.Module,
    classes: Mapping[str, list[str]],
    dataset: str,
    records: Sequence[dict[str, Any]],
    say: Callable[[str], None],
) -> None:
    first = comm.is_main_process()
    targets = [target_of(plan.folder, dataset, kind, form_of(kind)) for kind in kinds]
    parts = on_all(lambda: missing_parts(len(records), targets))
    share = parts[comm.get_rank() :: comm.get_world_size()]
    there = len(records) - sum(map(len, parts))
    progress = Progress(dataset, there, len(records), sum(map(len, share)), comm.get_world_size(), first)
    on_all(lambda: label_parts(model, plan.cfg, records, share, targets, plan.thresholds, progress))
    progress.end()
    counts = on_first(lambda: _finish(plan.folder, dataset, targets, records, classes))
    if first:
        for task, line in (counts or {}).items():
            say(f"{dataset}, {task}: {line}")


def _finish(
    folder: Path,
    dataset: str,
    targets: Sequence[Target],
    records: Sequence[dict[str, Any]],
    classes: Mapping[str, list[str]],
) -> dict[str, str]:
    """Makes one JSON of each task's parts, then says so in the manifest; by task, what there is in words."""
    images = [image_name(record["file_name"]) for record in records]
    counts = {target.kind.task: target.finish(images, classes[target.kind.task]) for target in targets}
    manifest = read_manifest(folder)
    for task, of_task in counts.items():
        manifest[task].datasets[dataset] = of_task
    write_manifest(folder, manifest)
    for target in targets:
        target.remove_parts()
    return {task: _in_words(of_task) for task, of_task in counts.items()}


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in counts.items())


def on_first(action: Callable[[], Result]) -> Result | None:
    """What ``action`` gives on the first process; None on others, which wait for it.

    Raises:
        DataError, WriteError: what it raised there, on all processes.
    """
    return on_all(action if comm.is_main_process() else lambda: None)


def on_all(action: Callable[[], Result]) -> Result:
    """What ``action`` gives on this process, once all have done it: an error of one ends all.

    Raises:
        DataError, WriteError: what it raised on one of them.
    """
    result, error = None, None
    try:
        result = action()
    except (DataError, WriteError) as raised:
        error = raised
    errors = [other for other in comm.all_gather(error) if other is not None]
    if errors:
        raise error or errors[0]
    return result  # type: ignore[return-value]
