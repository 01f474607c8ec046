"""The section of predictions beside ground truth."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mtl_d2.report.color_keys import color_keys, colors_in_words
from mtl_d2.report.file_names import PICTURE_FOLDER
from mtl_d2.report.markup import Section, folded, missing, paragraph
from mtl_d2.report.run import Run

BUDGET = 2_000_000  # bytes of JPEG in a report; base64 makes a third more of them
SHOWN = 3  # pairs of each data set that are not folded away
KINDS = ("prediction", "truth")


def picture_section(run: Run) -> Section:
    """Pairs of pictures, embedded, as many of each data set as the budget allows."""
    entries = [e for e in entries_of(run.pictures.get("pictures")) if isinstance(e, dict)]
    if not entries:
        return Section("pictures", "Predictions beside ground truth", missing(_why_none(run)) + _failed(run))
    shown: list[str] = []
    more: list[str] = []
    lost: list[str] = []
    embedded: list[dict[str, Any]] = []
    left = BUDGET
    for turn, entry in taking_turns(entries):
        files = {kind: jpeg for kind in KINDS if (jpeg := read_jpeg(run.folder, entry.get(kind))) is not None}
        if len(files) < len(KINDS):
            lost.append(str(entry.get("prediction", "?")))
            continue
        left -= sum(map(len, files.values()))
        if left < 0 and embedded:
            break
        embedded.append(entry)
        (shown if turn < SHOWN else more).append(_pair(entry, files))
    body = _introduction(run) + class_legend(run, embedded) + "".join(shown)
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
    for entry in entries_of(run.pictures.get("failed")):
        if isinstance(entry, dict):
            key = str(entry.get("dataset")), str(entry.get("reason"))
            images.setdefault(key, []).append(str(entry.get("image")))
    return "".join(
        missing(f"Not drawn: {dataset}: {', '.join(names)}: {reason}") for (dataset, reason), names in images.items()
    )


def taking_turns(entries: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The first of every data set, then the second of every data set, and so on, each with its turn from 0."""
    seen: Counter[str] = Counter()
    turns = []
    for entry in entries:
        name = str(entry.get("dataset"))
        turns.append((seen[name], entry))
        seen[name] += 1
    return sorted(turns, key=lambda pair: pair[0])


def read_jpeg(folder: Path, name: Any) -> bytes | None:
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


def class_legend(run: Run, embedded: Sequence[Mapping[str, Any]]) -> str:
    """The classes that the pictures of this page show, each once."""
    colors = run.pictures.get("colors")
    seen = {str(name) for entry in embedded for name in entries_of(entry.get("classes"))}
    given = colors.items() if isinstance(colors, Mapping) else ()
    return colors_in_words({name: color for name, color in given if str(name) in seen})


def _pair(entry: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    image, dataset = str(entry.get("image", "")), str(entry.get("dataset", ""))
    labels = " and ".join(map(str, entries_of(entry.get("labels")))) or "none in this data set"
    captions = {"prediction": "prediction", "truth": f"ground truth: {labels}"}
    shown = pictures({captions[kind]: files[kind] for kind in KINDS}, image)
    left_out = entry.get("left_out")
    given = left_out if isinstance(left_out, Mapping) else {}
    notes = [
        f"Not drawn of the {captions[kind]}: {', '.join(map(str, entries_of(given[kind])))}."
        for kind in KINDS
        if kind in given
    ]
    below = missing(" ".join(notes)) if notes else ""
    keys = color_keys(entry.get("keys"))
    heading = image_heading(image, dataset)
    return f'<div class="pair">{heading}<div class="grid">{shown}</div>{keys}{below}</div>'


def image_heading(image: str, dataset: str) -> str:
    """Above the pictures of an image; both names are text."""
    return f"<h3>{escape(image)} <small>{escape(dataset)}</small></h3>"


def pictures(jpegs: Mapping[str, bytes], image: str) -> str:
    """Pictures of one image beside each other, which a click enlarges, each above its caption; both names are text."""
    return "".join(_picture(escape(caption), jpeg, escape(image)) for caption, jpeg in jpegs.items())


def _picture(caption: str, jpeg: bytes, image: str) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
    return (
        f'<figure><label class="chart"><input type="checkbox" aria-label="enlarge {caption}, {image}">'
        f'<img alt="{caption}, {image}" src="{source}"></label><figcaption>{caption}</figcaption></figure>'
    )


def entries_of(value: Any) -> list[Any]:
    """A list as it is, and nothing in the place of anything else that a file may hold."""
    return value if isinstance(value, list) else []
