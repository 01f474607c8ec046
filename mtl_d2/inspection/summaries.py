"""From what was seen of samples to sentences and tables."""

from __future__ import annotations

import re
from typing import Any

from mtl_d2.inspection.findings import Findings, SetFindings
from mtl_d2.inspection.labels import Labels, inspector
from mtl_d2.inspection.observation import SOURCES, Failure
from mtl_d2.inspection.suspicions.agreement import disagreements
from mtl_d2.inspection.suspicions.images import copies, odd_pictures, stretched, twins
from mtl_d2.inspection.suspicions.lookalikes import lookalikes
from mtl_d2.inspection.suspicions.order import other_orders
from mtl_d2.inspection.suspicions.teachers import wrong_teachers
from mtl_d2.inspection.suspicions.units import other_units
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import PSEUDO, unprefixed

VARYING = re.compile(r"/\S+|\[[^\]]*\]|\([^)]*\)|\d+")  # parts of reasons that are alike otherwise
REASONS = 5  # why samples cannot be made, that are told
COMPARED_FILES = 20_000  # files that are read at most to find copies


def summarise(findings: Findings) -> None:
    """What is said of what was seen."""
    kinds = first_of_each(kinds_of(findings.cfg.MTL.TASKS))
    profiles: dict[str, dict[str, Any]] = {kind.task: {} for kind in kinds}
    for seen in findings.sets:
        _of_images(seen)
        names = (seen.name, *findings.cfg.DATASETS.TRAIN, *findings.cfg.DATASETS.TEST)
        for prefix in SOURCES:
            for kind in kinds:
                labels = labels_of_set(seen, kind, prefix)
                labels.named_by = next((name for name in names if kind.class_names(name)), "")
                if not labels.records:
                    continue
                summary = inspector(kind, findings.cfg).summary(labels)
                seen.summaries[prefix, kind.task] = summary
                of = "pseudo labels: " if prefix == PSEUDO else ""
                seen.suspicious += [of + line for line in summary.suspicious]
                seen.notes += [of + line for line in summary.notes]
                if not prefix:
                    profiles[kind.task][seen.name] = summary.profiles
        seen.suspicious += wrong_teachers([one.taught for one in seen.observed])
        seen.suspicious += disagreements([one.agreement for one in seen.observed])
    for task, of_sets in profiles.items():
        findings.suspicious += other_orders(of_sets, task)
        findings.suspicious += other_units(of_sets, task)
    if not findings.stopped:
        _compare_files(findings)


def labels_of_set(seen: SetFindings, kind: TaskKind, prefix: str) -> Labels:
    """The labels of a task in a data set, of one source."""
    data_set = seen.data_set
    own = ("file_name", "height", "width")
    records = [
        {**{key: record[key] for key in own if key in record}, **unprefixed(record, prefix)} if prefix else record
        for record in data_set.records
    ]
    labelled = [record for record in records if kind.record_key in record]
    labels = Labels(data_set.name, data_set.metadata, kind, prefix, data_set.is_trained_on, labelled)
    labels.observed = [one.labels[prefix, kind.task] for one in seen.observed if (prefix, kind.task) in one.labels]
    labels.lost = 0 if prefix else sum(kind.task in one.lost for one in seen.observed)
    labels.with_images = len(labels.observed) + labels.lost
    return labels


def _of_images(seen: SetFindings) -> None:
    files = [one.file for one in seen.observed]
    seen.suspicious += odd_pictures([one.contrast for one in seen.observed], files)
    seen.notes += stretched((one.stored, one.shown, one.file) for one in seen.observed)
    failed = list({failure.file: failure for failure in seen.failed}.values())
    alike: dict[str, list[Failure]] = {}
    for failure in failed:
        alike.setdefault(VARYING.sub("*", failure.reason), []).append(failure)
    for failures in list(alike.values())[:REASONS]:
        seen.suspicious.append(
            f"{len(failures)} of {len(seen.observed) + len(failed)} samples looked at cannot be made, the first of "
            f"{failures[0].file}: {failures[0].reason}"
        )


def _compare_files(findings: Findings) -> None:
    train = {seen.name: seen.data_set.records for seen in findings.sets if seen.data_set.is_trained_on}
    test = {seen.name: seen.data_set.records for seen in findings.sets if not seen.data_set.is_trained_on}
    by_name = {seen.name: seen for seen in findings.sets}
    for name, line in copies(train, test, COMPARED_FILES):
        by_name[name].suspicious.append(line)
    thumbnails = {
        seen.name: {one.file: one.thumbnail for one in seen.observed if one.thumbnail is not None}
        for seen in findings.sets
    }
    trained, tested = ({name: thumbnails[name] for name in names} for names in (train, test))
    for name, line in lookalikes(trained, tested):
        by_name[name].suspicious.append(line)
    for name, records in train.items():
        by_name[name].notes += twins(records, COMPARED_FILES)
