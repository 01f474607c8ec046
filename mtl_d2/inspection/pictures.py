"""Pictures of samples as they are trained on: the image, and beside it each task's label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtl_d2.data.addresses import shown_name
from mtl_d2.inspection.observation import Failure, Observer, labels_in
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.drawing import Image
from mtl_d2.report.jpeg import write_jpeg
from mtl_d2.report.palette import Palette
from mtl_d2.tasks.base import Sample
from mtl_d2.tasks.sources import PSEUDO

QUALITY = 88
SMALLEST = 320  # width up to which images are enlarged by a whole factor
LOOKED_THROUGH = 24  # times as many records as are shown, from which those are chosen


@dataclass
class Panel:
    """One picture.

    Attributes:
        title: the task, or "image".
        caption: what colours mean, or which classes there are.
        file: of the picture, in the folder of pictures.
    """

    title: str
    caption: str
    file: Path


@dataclass
class Shown:
    """The pictures of one sample.

    Attributes:
        image: name of its file.
        text: where it comes from, in words.
        panels: the image first.
        classes: names that can be seen.
        left_out: what could not be drawn.
    """

    image: str
    text: str
    panels: list[Panel] = field(default_factory=list)
    classes: frozenset[str] = frozenset()
    left_out: list[str] = field(default_factory=list)


def chosen(observer: Observer, number: int) -> list[int]:
    """The numbers of so many samples: of each combination of labels, and of images with objects, the first ones."""
    seen: dict[tuple[bool, ...], list[int]] = {}
    for i in range(min(len(observer), LOOKED_THROUGH * number)):
        record = observer.record(i)
        labels = [kind.is_in_record(record) for kind in observer.kinds]
        objects = any(record.get(kind.record_key) for kind in observer.kinds)
        seen.setdefault((objects, *labels), []).append(i)
    combinations = sorted(seen.items(), key=lambda item: (-sum(item[0]), item[1][0]))
    picked: list[int] = []
    while len(picked) < number and any(numbers for _, numbers in combinations):
        for _, numbers in combinations:
            if numbers and len(picked) < number:
                picked.append(numbers.pop(0))
    return sorted(picked)


def draw_sample(observer: Observer, number: int, palette: Palette, folder: Path) -> Shown | Failure:
    """Draws a sample into files of a folder.

    Raises:
        OSError: a file cannot be written.
    """
    record = observer.record(number)
    try:
        sample = observer.sample(number)
    except Exception as error:  # noqa: BLE001  # it is named on the page, whatever it is
        return Failure(str(record["file_name"]), " ".join(str(error).split())[:300])
    image = observer.rgb(sample)
    stem = f"{observer.data_set.name}_{number}".replace("/", "_")
    shown = Shown(shown_name(str(record["file_name"])), _text(observer, number, sample, image))
    factor = max(1, SMALLEST // image.shape[1])
    write_jpeg(folder / f"{stem}_image.jpg", image.repeat(factor, 0).repeat(factor, 1), QUALITY, "--output")
    shown.panels.append(Panel("image", "as the network sees it", folder / f"{stem}_image.jpg"))
    classes: set[str] = set()
    for prefix, kind, labels in labels_in(sample, list(observer.inspectors), observer.kinds):
        canvas = Canvas(image, palette)
        try:
            observer.inspectors[kind.task].draw(canvas, labels, observer.metadata_of(kind))
            caption, picture = canvas.of_one_task()
        except Exception as error:  # noqa: BLE001  # likewise
            shown.left_out.append(f"{kind.task}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        file = folder / f"{stem}_{(prefix + kind.task).replace('/', '_')}.jpg"
        write_jpeg(file, picture.pixels, QUALITY, "--output")
        same = [other.task for other in observer.kinds if other.sample_key == kind.sample_key and other.is_in(labels)]
        title = " and ".join(same or [kind.task]) + (", pseudo labels" if prefix == PSEUDO else "")
        words = caption.partition(": ")[2] or _classes_in_words(picture.classes, palette)
        shown.panels.append(Panel(title, words, file))
        shown.left_out += picture.left_out
        classes |= picture.classes
    shown.classes = frozenset(classes)
    return shown


def _text(observer: Observer, number: int, sample: Sample, image: Image) -> str:
    height, width = image.shape[:2]
    size = f"{width} x {height}"
    if "width" in sample and (sample["height"], sample["width"]) != (height, width):
        size = f"{sample['width']} x {sample['height']}, trained on at {size}"
    if not observer.data_set.is_trained_on:
        return f"{size.replace('trained on', 'tested')}, not augmented"
    position = observer.data_set.places[number][0]
    return f"{size}, augmented as sample {position} of the training"


def _classes_in_words(classes: frozenset[str], palette: Palette) -> str:
    names = palette.in_order(classes)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def some_pictures(
    observer: Observer, number: int, palette: Palette, folder: Path
) -> tuple[list[Shown], Sequence[Failure]]:
    """Pictures of so many samples, and the samples that there are none of."""
    drawn = [draw_sample(observer, i, palette, folder) for i in chosen(observer, number)]
    return [one for one in drawn if isinstance(one, Shown)], [one for one in drawn if isinstance(one, Failure)]
