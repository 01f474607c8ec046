"""Writes a few images in BDD100K's layout: one bright rectangle each, which the labels trace exactly."""

import json
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 80
DETECTION, SEMANTIC = 6, 5  # images a split
CAR_MASK, ROAD_MASK = 13, 0


def rectangle(i: int) -> tuple[int, int, int, int]:
    """First and last column and row of the rectangle in image i: x1, y1, x2, y2, all inclusive."""
    return 4 + 3 * i, 6 + 2 * i, 30 + 3 * i, 25 + 2 * i


def write_tiny_bdd100k(root: Path) -> None:
    for split in ("train", "val"):
        write_detection(root / "bdd100k", split)
        write_semantic(root / "bdd100k", split)


def write_detection(base: Path, split: str) -> None:
    frames = []
    for i in range(DETECTION):
        name = f"det-{split}-{i}.jpg"
        write_image(base / "images/100k" / split / name, i)
        x1, y1, x2, y2 = rectangle(i)
        car = {"id": str(i), "category": "car", "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
        frames.append({"name": name, "labels": [car]})
    frames[-1] = {"name": frames[-1]["name"]}  # BDD100K leaves `labels` out where there is nothing
    write_json(base / "labels/det_20" / f"det_{split}.json", frames)


def write_semantic(base: Path, split: str) -> None:
    for i in range(SEMANTIC):
        write_image(base / "images/10k" / split / f"seg-{split}-{i}.jpg", i)
        x1, y1, x2, y2 = rectangle(i)
        mask = np.full((HEIGHT, WIDTH), ROAD_MASK, np.uint8)
        mask[y1 : y2 + 1, x1 : x2 + 1] = CAR_MASK
        mask[-2:] = 255
        write_png(base / "labels/sem_seg/masks" / split / f"seg-{split}-{i}.png", mask)


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
