"""The section of predictions beside ground truth."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mtl_d2.report.files import PICTURE_FOLDER
from mtl_d2.report.markup import Section, folded, missing, paragraph
from mtl_d2.report.run import Run

BUDGET = 2_000_000  # bytes of JPEG in a report; base64 makes a third more of them
SHOWN = 3  # pairs of each data set that are not folded away
COLOR = re.compile(r"^#[0-9a-f]{6}$")
KINDS = ("prediction", "truth")


def picture_section(run: Run) -> Section:
    """Pairs of pictures, embedded, as many of each data set as the budget allows."""
    entries = [e for e in _list(run.pictures.get("pictures")) if isinstance(e, dict)]
    if not entries:
        text = "No pictures were drawn: they are made after the evaluation, which this run did not reach."
        return Section("pictures", "Predictions beside ground truth", missing(text))
    shown, more, lost = _embedded(run.folder, _taking_turns(entries))
    body = _introduction(run) + _legend(run) + "".join(shown)
    if more:
        body += folded(f"{len(more)} more images", "".join(more))
    if lost:
        body += missing(f"Pictures that cannot be read: {', '.join(lost)}.")
    rest = len(entries) - len(shown) - len(more) - len(lost)
    if rest:
        text = f"{rest} more are in the folder {PICTURE_FOLDER}; they are left out here to keep this file small."
        body += paragraph(text)
    return Section("pictures", "Predictions beside ground truth", body)


def _embedded(folder: Path, entries: Sequence[tuple[int, dict[str, Any]]]) -> tuple[list[str], list[str], list[str]]:
    """Pairs to show, pairs to fold away, and the names of what cannot be read."""
    shown: list[str] = []
    more: list[str] = []
    lost: list[str] = []
    left = BUDGET
    for turn, entry in entries:
        files = {kind: data for kind in KINDS if (data := _jpeg(folder, entry.get(kind))) is not None}
        if len(files) < len(KINDS):
            lost.append(str(entry.get("prediction", "?")))
            continue
        left -= sum(map(len, files.values()))
        if left < 0 and shown:
            break
        (shown if turn < SHOWN else more).append(_pair(entry, files))
    return shown, more, lost


def _taking_turns(entries: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The first of every data set, then the second of every data set, and so on, each with its turn from 0."""
    seen: Counter[str] = Counter()
    turns = []
    for entry in entries:
        name = str(entry.get("dataset"))
        turns.append((seen[name], entry))
        seen[name] += 1
    return sorted(turns, key=lambda pair: pair[0])


def _jpeg(folder: Path, name: Any) -> bytes | None:
    """Bytes of a picture in the run's picture folder; None if it is not there."""
    if not isinstance(name, str) or Path(name).name != name:
        return None
    try:
        return (folder / PICTURE_FOLDER / name).read_bytes()
    except (OSError, ValueError):
        return None


def _introduction(run: Run) -> str:
    threshold = run.pictures.get("score_threshold")
    text = "What the network found, and the labels of the same image. "
    if isinstance(threshold, int | float):
        text += f"Boxes with a score of at least {threshold:g} are drawn, with their score. "
    return paragraph(text + "Regions in plain image colours have no label.")


def _legend(run: Run) -> str:
    legends = run.pictures.get("legend")
    lines = []
    for kind, classes in legends.items() if isinstance(legends, Mapping) else ():
        keys = "".join(
            f'<span><i style="background:{escape(str(color))}"></i>{escape(str(name))}</span>'
            for name, color in (pair for pair in _list(classes) if isinstance(pair, list) and len(pair) == 2)
            if COLOR.match(str(color))
        )
        if keys:
            lines.append(f'<div class="legend"><b>{escape(str(kind))}</b>{keys}</div>')
    return "".join(lines)


def _pair(entry: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    image, dataset = escape(str(entry.get("image", ""))), escape(str(entry.get("dataset", "")))
    labels = " and ".join(map(str, _list(entry.get("labels")))) or "none in this data set"
    captions = {"prediction": "prediction", "truth": f"ground truth: {labels}"}
    shown = "".join(
        f'<figure><img alt="{escape(captions[kind])}, {image}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(files[kind]).decode("ascii")}"><figcaption>{escape(captions[kind])}</figcaption></figure>'
        for kind in KINDS
    )
    return f'<div class="pair"><h3>{image} <small>{dataset}</small></h3><div class="grid">{shown}</div></div>'


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
