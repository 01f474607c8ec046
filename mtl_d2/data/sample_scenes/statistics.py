"""What a finished data set of sample scenes contains, measured on its own label files."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.classes import DETECTION, IGNORE, SEMANTIC
from mtl_d2.data.sample_scenes.generate import read_manifest
from mtl_d2.data.sample_scenes.scene import SPLITS

EDGES = (0, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # pixels: square root of a box's area


def statistics(root: Path) -> str:
    """Object sizes and class frequencies of both splits as Markdown.

    Args:
        root: a finished root with the ``bdd100k`` layout.

    Raises:
        ValueError: there are no finished sample scenes in this layout.
    """
    manifest = read_manifest(root)
    if manifest is None or not manifest["finished"] or "bdd100k" not in manifest["layouts"]:
        raise ValueError(f"statistics needs a folder with finished sample scenes in the bdd100k layout, not {root}")
    frames = [frame for split in SPLITS for frame in _frames(root, split)]
    masks = sorted(path for split in SPLITS for path in (root / "bdd100k/labels/sem_seg/masks" / split).glob("*.png"))
    keys = ("version", "preset", "seed", "size", "train", "val")
    lines = [", ".join(f"{key} {manifest[key]}" for key in keys), ""]
    return "\n".join(lines + _sizes(frames) + _categories(frames) + _semantics(masks))


def _frames(root: Path, split: str) -> list[dict]:
    return json.loads((root / f"bdd100k/labels/det_20/det_{split}.json").read_text(encoding="utf-8"))


def _boxes(frames: list[dict]) -> Array:
    boxes = [label["box2d"] for frame in frames for label in frame.get("labels", [])]
    return np.array([[b["x2"] - b["x1"] + 1, b["y2"] - b["y1"] + 1] for b in boxes]).reshape(-1, 2)


def _sizes(frames: list[dict]) -> list[str]:
    sides = np.sqrt(_boxes(frames).prod(1))
    counts, _ = np.histogram(sides, bins=(*EDGES, np.inf))
    names = [f"{a}-{b}" for a, b in pairwise(EDGES)] + [f"{EDGES[-1]}-"]
    share = 100 * counts / max(len(sides), 1)
    rows = [f"| {name} | {count} | {part:.1f} |" for name, count, part in zip(names, counts, share, strict=True)]
    return ["| square root of box area, pixels | objects | % |", "|---|---|---|", *rows, ""]


def _categories(frames: list[dict]) -> list[str]:
    objects: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for frame in frames:
        names = [label["category"] for label in frame.get("labels", [])]
        objects.update(names)
        images.update(set(names))
    rows = [f"| {c} | {objects[c]} | {100 * images[c] / max(len(frames), 1):.1f} |" for c in DETECTION if objects[c]]
    each = [len(frame.get("labels", [])) for frame in frames] or [0]
    head = f"Detection, {len(frames)} images, {np.mean(each):.1f} objects an image ({min(each)} to {max(each)})"
    return [f"| {head} | objects | % of images |", "|---|---|---|", *rows, ""]


def _semantics(masks: list[Path]) -> list[str]:
    pixels, images = np.zeros(256), np.zeros(256)
    for path in masks:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        count = np.bincount(mask.ravel(), minlength=256)
        pixels += count
        images += count > 0
    names = [*enumerate(c.name for c in SEMANTIC), (IGNORE, "ignored")]
    rows = [
        f"| {name} | {100 * pixels[i] / pixels.sum():.2f} | {100 * images[i] / len(masks):.1f} |"
        for i, name in names
        if images[i]
    ]
    return [f"| Semantic, {len(masks)} images | % of pixels | % of images |", "|---|---|---|", *rows]
