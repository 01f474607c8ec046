"""Where BDD100K's files are, and which image belongs to which label."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mtl_d2.data.errors import DataError
from mtl_d2.data.missing_labels import leave_out_unpaired
from mtl_d2.data.roots import require_folder
from mtl_d2.data.sources import KEY

# Where labels may be, below labels/, and the folder of their images; in the places of braces stands the split.
LABELS = {
    "det_20": ("100k", ("det_20/det_{}.json",)),
    "drivable": ("100k", ("drivable/masks/{}", "drivable/colormaps/{}")),
    "lane": ("100k", ("lane/masks/{}", "lane/colormaps/{}")),
    "sem_seg": ("10k", ("sem_seg/masks/{}", "sem_seg/colormaps/{}")),
    "ins_seg": ("10k", ("ins_seg/rles/ins_seg_{}.json", "ins_seg/bitmasks/{}")),
}
# What the download page calls the parts, by their folders.
PARTS = {
    "images/100k": "100K Images",
    "images/10k": "10K Images",
    "labels/drivable": "Drivable Area",
    "labels/lane": "Lane Marking",
    "labels/sem_seg": "Semantic Segmentation",
    "labels/ins_seg": "Instance Segmentation",
}


def label_files(root: str, split: str, *labels: str) -> dict[str, list[str]]:
    """Metadata that say which files and folders the records come from; see ``mtl_d2.data.sources``.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.
        labels: of ``LABELS``, which are of the same images.
    """
    base = os.path.join(root, "bdd100k")
    paths = [os.path.join(base, "labels", path.format(split)) for name in labels for path in LABELS[name][1]]
    return {KEY: [os.path.join(base, "images", LABELS[labels[0]][0], split), *paths]}


def base_folder(root: str) -> Path:
    """``root/bdd100k``, which is there."""
    return require_folder(Path(root) / "bdd100k", "bdd100k/images and bdd100k/labels")


def part_folder(base: Path, *folders: str) -> Path:
    """A folder of one of the parts in which BDD100K is downloaded.

    Args:
        base: ``bdd100k``.
        folders: from ``base`` on, the first two of which tell the part.

    Raises:
        DataError: it is not there.
    """
    path = base.joinpath(*folders)
    if not path.is_dir():
        part = PARTS["/".join(folders[:2])]
        raise DataError(f"folder {path} not found: unpack {part!r} of BDD100K's downloads there, see docs/datasets.md")
    return path


def map_folder(base: Path, kind: str, split: str) -> Path:
    """The folder with a PNG for each image of a split: ``masks``, else ``colormaps`` whose palette index is the value.

    Args:
        base: ``bdd100k``.
        kind: of the labels, such as ``sem_seg``.
        split: ``train`` or ``val``.

    Raises:
        DataError: neither is there, it is empty, or its PNGs hold colours.
    """
    labels = base / "labels" / kind
    only_colors = (labels / "colormaps" / split).is_dir() and not (labels / "masks" / split).is_dir()
    folder = part_folder(base, "labels", kind, "colormaps" if only_colors else "masks", split)
    first = folder / file_names(folder, ".png")[0]
    with Image.open(first) as image:
        if image.mode not in ("L", "P"):
            raise DataError(
                f"{first} holds colours (mode {image.mode}), not class ids: unpack BDD100K's labels/{kind}/masks, "
                "whose PNGs have one channel, beside it"
            )
    return folder


def file_names(folder: Path, suffix: str) -> list[str]:
    """Names in a folder, sorted, less hidden ones. One listing: the folders of BDD100K hold up to 70 000 files."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name.endswith(suffix) and not e.name.startswith("."))
    if not names:
        raise DataError(f"folder {folder} has no *{suffix} files: unpack this part of BDD100K there")
    return names


def labelled(images: Path, labels: Path, dataset: str = "") -> list[str]:
    """Names, less their endings, of the images that have a PNG in ``labels``; see ``in_both``."""
    return in_both(images, labels, _stems(file_names(labels, ".png")), ".png", dataset)


def in_both(images: Path, labels: Path, listed: Sequence[str], ending: str = "", dataset: str = "") -> list[str]:
    """Names, less their endings, of the images that have a label; says which have none, and the reverse.

    Args:
        images: their folder.
        labels: folder or file of the labels.
        listed: names of the images that these are of, less their endings.
        ending: what a name in ``labels`` has more.
        dataset: with ``unpaired_files="refuse"`` in its metadata nothing is left out.

    Raises:
        DataError: no image has one; or some have none, or the reverse, and are not to be left out.
    """
    pictures = _stems(file_names(images, ".jpg"))
    both = sorted(set(pictures).intersection(listed))
    if not both:
        raise DataError(
            f"none of the {len(pictures)} images in {images} has its label in {labels}, which holds {len(listed)}, "
            f"{listed[0]}{ending} first: unpack the labels of these images"
        )
    alone = []
    for what, of, where in (
        ("images have no label", pictures, f"in {labels}"),
        ("labels have no image", listed, f"in {images}"),
    ):
        others = sorted(set(of).difference(both))
        if others:
            alone.append((f"{len(others)} of {len(of)} {what} {where}", others[0]))
    leave_out_unpaired(dataset, alone)
    return both


def _stems(names: Iterable[str]) -> list[str]:
    return [os.path.splitext(name)[0] for name in names]


def size_of_first(images: Path) -> tuple[int, int]:
    """Height and width of the first image. The mapper checks every image against it when it is read."""
    with Image.open(images / file_names(images, ".jpg")[0]) as image:
        return image.height, image.width


def image_record(images: Path, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """What detectron2 has to know of an image, without its labels.

    Args:
        images: its folder.
        name: of its file.
        size: height and width.
    """
    stem = os.path.splitext(name)[0]
    return {"file_name": os.path.join(images, name), "height": size[0], "width": size[1], "image_id": stem}


def read_frames(path: Path) -> list[dict[str, Any]]:
    """The frames of a label file in the Scalabel format: a list, or a dict with the list under ``frames``.

    Raises:
        DataError: no such file, not valid JSON, or another structure.
    """
    try:
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
    except FileNotFoundError as e:
        raise DataError(f"label file {path} not found: unpack the labels of BDD100K's {path.parent.name} there") from e
    except json.JSONDecodeError as e:
        raise DataError(
            f"{path}, line {e.lineno}, column {e.colno}: not valid JSON ({e.msg}): "
            "the file is damaged or cut off, fetch it again"
        ) from e
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list) or not frames:
        raise DataError(
            f"{path}: expected a non-empty list of frames, found {type(content).__name__}: see docs/datasets.md"
        )
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("name"), str):
            raise DataError(f"{path}: frame {i} has no `name`: every frame names its image file, see docs/datasets.md")
    return frames
