"""The section of predictions beside ground truth."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mtl_d2.report.file_names import PICTURE_FOLDER
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
        return Section("pictures", "Predictions beside ground truth", missing(_why_none(run)) + _failed(run))
    shown: list[str] = []
    more: list[str] = []
    lost: list[str] = []
    embedded: list[dict[str, Any]] = []
    left = BUDGET
    for turn, entry in _taking_turns(entries):
        files = {kind: jpeg for kind in KINDS if (jpeg := _jpeg(run.folder, entry.get(kind))) is not None}
        if len(files) < len(KINDS):
            lost.append(str(entry.get("prediction", "?")))
            continue
        left -= sum(map(len, files.values()))
        if left < 0 and embedded:
            break
        embedded.append(entry)
        (shown if turn < SHOWN else more).append(_pair(entry, files))
    body = _introduction(run) + _legend(run, embedded) + "".join(shown)
    if more:
        body += folded(f"{len(more)} more images", "".join(more))
    if lost:
        body += missing(f"Pictures that cannot be read: {', '.join(lost)}.")
    body += _failed(run)
    rest = len(entries) - len(embedded) - len(lost)
    if rest:
        text = f"{rest} more are in the folder {PICTURE_FOLDER}; they are left out here to keep this file small."
        body += paragraph(text)
    return Section("pictures", "Predictions beside ground truth", body)


def _why_none(run: Run) -> str:
    if run.config and not run.setting("DATASETS.TEST"):
        return "No pictures were drawn: DATASETS.TEST names no test set, and they are of test images."
    if run.pictures:
        return "No picture could be drawn."
    return "No pictures were drawn: they are made after the evaluation, which this run did not reach."


def _failed(run: Run) -> str:
    """A line for each reason why pictures could not be drawn, with their names."""
    images: dict[tuple[str, str], list[str]] = {}
    for entry in _list(run.pictures.get("failed")):
        if isinstance(entry, dict):
            key = str(entry.get("dataset")), str(entry.get("reason"))
            images.setdefault(key, []).append(str(entry.get("image")))
    return "".join(
        missing(f"Not drawn: {dataset}: {', '.join(names)}: {reason}") for (dataset, reason), names in images.items()
    )


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


def _legend(run: Run, embedded: Sequence[Mapping[str, Any]]) -> str:
    """The classes that the pictures of this page show, each once."""
    colors = run.pictures.get("colors")
    seen = {str(name) for entry in embedded for name in _list(entry.get("classes"))}
    keys = "".join(
        f'<span><i style="background:{escape(str(color))}"></i>{escape(str(name))}</span>'
        for name, color in (colors.items() if isinstance(colors, Mapping) else ())
        if str(name) in seen and COLOR.match(str(color))
    )
    return f'<div class="legend">{keys}</div>' if keys else ""


def _pair(entry: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    image, dataset = escape(str(entry.get("image", ""))), escape(str(entry.get("dataset", "")))
    labels = " and ".join(map(str, _list(entry.get("labels")))) or "none in this data set"
    captions = {"prediction": "prediction", "truth": f"ground truth: {labels}"}
    shown = "".join(
        f'<figure><img alt="{escape(captions[kind])}, {image}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(files[kind]).decode("ascii")}"><figcaption>{escape(captions[kind])}</figcaption></figure>'
        for kind in KINDS
    )
    left_out = entry.get("left_out")
    given = left_out if isinstance(left_out, Mapping) else {}
    notes = [
        f"Not drawn of the {captions[kind]}: {', '.join(map(str, _list(given[kind])))}."
        for kind in KINDS
        if kind in given
    ]
    below = missing(" ".join(notes)) if notes else ""
    return f'<div class="pair"><h3>{image} <small>{dataset}</small></h3><div class="grid">{shown}</div>{below}</div>'


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
