"""A section of the runs that a comparison started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtl_d2.comparison.collect import Collected, collect_all
from mtl_d2.comparison.plan import entry_config
from mtl_d2.comparison.search_record import TRIALS
from mtl_d2.comparison.source import load_source
from mtl_d2.comparison.spec import Comparison, Entry, read_comparison, word
from mtl_d2.comparison.state import changes
from mtl_d2.zoo.section import LeftOut, Row, Section, head_of, trained, without_rows_of_none
from mtl_d2.zoo.words import quoted

DROPPED = ("SEED ", "OUTPUT_DIR ")  # what differs from run to run


def comparison_files(folder: Path) -> dict[str, Path]:
    """Files of comparisons by the name of the folder that each writes into."""
    files = {}
    for path in sorted(folder.glob("*.yaml")):
        raw, _ = load_source(path)
        files[Path(raw.get("output") or path.stem).name] = path
    return files


def compared(file: Path, output: Path, root: Path, names: Mapping[Path, str], left_out: LeftOut) -> Section | None:
    """The section of a comparison; None if none of its runs counts.

    Args:
        file: of the comparison.
        output: the folder of its runs.
        root: of the checkout, which commands are relative to.
        names: of the runs by folder.
        left_out: takes the runs that do not count.

    Raises:
        ComparisonError, ConfigError: the file makes no sense any more.
    """
    comparison = read_comparison(file, str(output))
    collected = collect_all(comparison)
    own = [row for row in collected.rows if not row.entry.folders]  # the others were started elsewhere
    rows = tuple(Row(row.entry.name, _words(row.entry.overrides), trained(row, names, left_out)) for row in own)
    _leave_out_others(collected, output, names, left_out)
    differences = Counter[str]()
    for compared_row, row in zip(own, rows, strict=True):
        if row.runs:
            differences.update(_since(comparison, compared_row.entry, row.runs[0].run.folder))
    everywhere = sum(bool(row.runs) for row in rows)
    extra = [text for line, count in sorted(differences.items()) if count == everywhere for text in _key_value(line)]
    some = [line for line, count in sorted(differences.items()) if count < everywhere]
    base, common = os.path.relpath(comparison.base or file, root), _words(comparison.overrides)
    return without_rows_of_none(
        Section(
            title=comparison.title,
            key=output.name,
            about=head_of(file),
            started=quoted(["tools/compare.py", os.path.relpath(file, root)]),
            extra=tuple(extra),
            single=quoted(["tools/train_net.py", "--config-file", base, *common, *extra]),
            metrics=collected.metrics,
            rows=rows,
            remarks=tuple(f"Some runs were trained before {file.name} changed: {line}." for line in some),
        )
    )


def _leave_out_others(collected: Collected, output: Path, names: Mapping[Path, str], left_out: LeftOut) -> None:
    """Runs in the comparison's folder that its file does not speak of."""
    started = {record.run.folder for row in collected.rows for record in row.records}
    for folder, name in names.items():
        if folder.is_relative_to(output) and folder not in started:
            why = "the file has no such method or seed"
            if ".old" in folder.name:
                why = "set aside, since another config took its place"
            elif folder.parent.name == TRIALS:
                why = "a trial of a search"
            left_out.reasons[name] = why


def _words(pairs: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    """``KEY VALUE`` words of overrides."""
    return tuple(text for key, value in pairs for text in (key, word(value)))


def _since(comparison: Comparison, entry: Entry, folder: Path) -> list[str]:
    """How a run's config differs from what the comparison's files say now: ``KEY then -> now``."""
    cfg = entry_config(comparison, entry)
    return [line for line in changes(folder, cfg.dump()) if not line.startswith(DROPPED)]


def _key_value(line: str) -> list[str]:
    """Of ``KEY then -> now``, the words that set what was then."""
    key, _, values = line.partition(" ")
    return [key, values.partition(" -> ")[0]]
