"""Writes a few images in BDD100K's layout: one bright rectangle each, which the labels trace exactly."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 80
DETECTION, SEMANTIC = 6, 5  # images a split
CAR_MASK, ROAD_MASK = 13, 0
DIRECT, ALTERNATIVE, NOT_DRIVABLE = 0, 1, 2
# Category in the lowest three bits, 16 = dashed, 32 = vertical to the vehicle's way.
DASHED_SINGLE_WHITE, CROSSWALK, NO_LANE = 6 | 16, 0 | 32, 255
CROWD = (slice(40, 44), slice(70, 78))  # pedestrians that are not told apart, in every bitmask


def rectangle(i: int) -> tuple[int, int, int, int]:
    """First and last column and row of the rectangle in image i: x1, y1, x2, y2, all inclusive."""
    return 4 + 3 * i, 6 + 2 * i, 30 + 3 * i, 25 + 2 * i


def write_tiny_bdd100k(root: Path) -> None:
    for split in ("train", "val"):
        write_detection(root / "bdd100k", split)
        write_maps(root / "bdd100k", split)
        write_semantic(root / "bdd100k", split)
        write_instances(root / "bdd100k", split)


def write_detection(base: Path, split: str) -> None:
    for i in range(DETECTION):
        write_image(base / "images/100k" / split / f"det-{split}-{i}.jpg", i)
    write_frames_of(base, split, range(DETECTION))


def write_frames_of(base: Path, split: str, images: Iterable[int]) -> None:
    """The label file of some of the images; the last one of all has no object."""
    frames: list[dict[str, Any]] = []
    for i in images:
        x1, y1, x2, y2 = rectangle(i)
        car = {"id": str(i), "category": "car", "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
        labels = {"labels": [car]} if i < DETECTION - 1 else {}  # BDD100K leaves them out where there is nothing
        frames.append({"name": f"det-{split}-{i}.jpg", **labels})
    write_json(base / "labels/det_20" / f"det_{split}.json", frames)


def write_maps(base: Path, split: str) -> None:
    """Left half of the lower half direct, right half alternative; a dashed line between them, a crosswalk above."""
    drivable = np.full((HEIGHT, WIDTH), NOT_DRIVABLE, np.uint8)
    drivable[HEIGHT // 2 :, : WIDTH // 2] = DIRECT
    drivable[HEIGHT // 2 :, WIDTH // 2 :] = ALTERNATIVE
    lane = np.full((HEIGHT, WIDTH), NO_LANE, np.uint8)
    lane[HEIGHT // 2 :, WIDTH // 2] = DASHED_SINGLE_WHITE
    lane[HEIGHT // 2, : WIDTH // 2] = CROSSWALK
    for i in range(DETECTION):
        write_png(base / "labels/drivable/masks" / split / f"det-{split}-{i}.png", drivable)
        write_png(base / "labels/lane/masks" / split / f"det-{split}-{i}.png", lane)


def write_semantic(base: Path, split: str) -> None:
    for i in range(SEMANTIC):
        write_image(base / "images/10k" / split / f"seg-{split}-{i}.jpg", i)
        x1, y1, x2, y2 = rectangle(i)
        mask = np.full((HEIGHT, WIDTH), ROAD_MASK, np.uint8)
        mask[y1 : y2 + 1, x1 : x2 + 1] = CAR_MASK
        mask[-2:] = 255
        write_png(base / "labels/sem_seg/masks" / split / f"seg-{split}-{i}.png", mask)


def write_instances(base: Path, split: str) -> None:
    """A car, number 1, and a crowd of pedestrians, number 258."""
    for i in range(SEMANTIC):
        x1, y1, x2, y2 = rectangle(i)
        bitmask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        bitmask[y1 : y2 + 1, x1 : x2 + 1] = (3, 0b1100, 0, 1)
        bitmask[CROWD] = (1, 0b10, 1, 2)
        path = base / "labels/ins_seg/bitmasks" / split / f"seg-{split}-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(bitmask).save(path)


def write_image(path: Path, i: int) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    x1, y1, x2, y2 = rectangle(i)
    image[y1 : y2 + 1, x1 : x2 + 1] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
