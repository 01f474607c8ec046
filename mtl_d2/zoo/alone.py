"""Sections of runs that were started one by one, by ``tools/train_net.py``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from mtl_d2.comparison.spec import Entry
from mtl_d2.report.run import Run, read_run
from mtl_d2.report.settings import method_of
from mtl_d2.zoo.log import read_log
from mtl_d2.zoo.section import LeftOut, Row, Section, collected_alone, head_of, trained, without_rows_of_none
from mtl_d2.zoo.words import quoted

OF_A_RUN = ("SEED", "OUTPUT_DIR")  # keys that do not make another config


def alone(root: Path, names: Mapping[Path, str], left_out: LeftOut) -> list[Section]:
    """A section for each config file, a row for each config.

    Args:
        root: of the checkout, which commands are relative to.
        names: of the runs by folder.
        left_out: takes the runs that do not count.
    """
    files: dict[str, dict[str, list[Path]]] = {}  # config file -> config without seed and folder -> runs
    words: dict[str, tuple[str, ...]] = {}
    for folder in names:
        run, log = read_run(folder), read_log(folder, on_gpu=False)
        if not run.config:
            left_out.reasons[names[folder]] = "it has no config.yaml"
            continue
        file = _in_checkout(log.config_file, root)
        if not file:
            told = Path(log.config_file).name if log.config_file else "none"
            left_out.reasons[names[folder]] = f"its log names no config file of this checkout ({told})"
            continue
        config = _without_seed(run)
        files.setdefault(file, {}).setdefault(config, []).append(folder)
        words.setdefault(config, _portable(log.options))
    return [
        section
        for file in sorted(files)
        if (section := _section(root, file, files[file], words, names, left_out)) is not None
    ]


def _section(
    root: Path,
    file: str,
    configs: Mapping[str, list[Path]],
    words: Mapping[str, tuple[str, ...]],
    names: Mapping[Path, str],
    left_out: LeftOut,
) -> Section | None:
    entries = [Entry(config, folders=tuple(folders)) for config, folders in configs.items()]
    collected = collected_alone(entries)
    rows = []
    for row in collected.rows:
        runs = trained(row, names, left_out)
        name = method_of(runs[0].run) if runs else ""
        rows.append(Row(name, words[row.entry.name], runs))
    rows.sort(key=lambda row: (row.name, row.words))
    about = head_of(root / file)
    started = quoted(["tools/train_net.py", "--config-file", file])
    return without_rows_of_none(Section(file, file, about, started, (), "", collected.metrics, tuple(rows)))


def _in_checkout(config_file: str, root: Path) -> str:
    """A config file relative to the root, if the checkout has it under the end of its path; else ""."""
    parts = Path(config_file).parts
    ends = [Path(*parts[start:]) for start in range(len(parts)) if parts[start] not in ("/", "..")]
    return next((str(end) for end in ends if (root / end).is_file()), "")


def _without_seed(run: Run) -> str:
    return yaml.safe_dump({key: value for key, value in run.config.items() if key not in OF_A_RUN})


def _portable(options: tuple[str, ...]) -> tuple[str, ...]:
    """``KEY VALUE`` words without seed and folder, and without the folders of this machine."""
    pairs = zip(options[::2], options[1::2], strict=False)
    kept = [(key, os.path.join("DIR", Path(value).name) if os.path.isabs(value) else value) for key, value in pairs]
    return tuple(text for key, value in kept if key not in OF_A_RUN for text in (key, value))
