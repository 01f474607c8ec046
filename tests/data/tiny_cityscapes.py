"""Writes two images a split in Cityscapes' layout whose label files are a few rectangles."""

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 80
ROAD, SKY, PERSON, CAR, CARAVAN, STATIC = 7, 23, 24, 26, 29, 4
CITY = {"train": "here", "val": "there"}
# (rows, columns) of each id of ``instanceIds``; later ones lie over earlier ones.
PLACES = [
    (ROAD, (24, 48), (0, 80)),
    (SKY, (0, 24), (0, 80)),
    (STATIC, (44, 48), (0, 80)),
    (1000 * CAR, (20, 40), (10, 50)),
    (1000 * PERSON, (12, 36), (28, 34)),  # cuts the first car in two pieces
    (1000 * CAR + 1, (22, 30), (60, 78)),
    (PERSON, (26, 34), (52, 58)),  # a crowd
    (1000 * CARAVAN, (10, 18), (60, 78)),  # not evaluated
]


def instance_ids(scale: int = 1) -> np.ndarray:
    ids = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint16)
    for value, rows, columns in PLACES:
        ids[slice(*(scale * r for r in rows)), slice(*(scale * c for c in columns))] = value
    return ids


def label_ids(ids: np.ndarray) -> np.ndarray:
    return np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)


def write_tiny_cityscapes(root: Path, scale: int = 1) -> None:
    for split, city in CITY.items():
        for i in range(2):
            stem = f"{city}_{i:06d}_000019"
            ids = instance_ids(scale)
            image = np.repeat(label_ids(ids)[..., None] * 7, 3, axis=2)
            disparity = np.where(label_ids(ids) == SKY, 0, 1 + 256 * 5).astype(np.uint16)
            for kind, ending, pixels in [
                ("leftImg8bit", "leftImg8bit", image),
                ("gtFine", "gtFine_instanceIds", ids),
                ("gtFine", "gtFine_labelIds", label_ids(ids)),
                ("disparity", "disparity", disparity),
            ]:
                path = root / "cityscapes" / kind / split / city / f"{stem}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), pixels)
