"""Little streets with all labels, made in a second: sky over a road, with cars, persons and signs on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from detectron2.structures import BoxMode
from PIL import Image

HEIGHT, WIDTH, HORIZON = 64, 96, 24
THINGS = ("car", "person", "sign")
STUFF = ("sky", "road", *THINGS)
COLORS = {"sky": (150, 190, 230), "road": (90, 90, 90), "car": (200, 30, 30), "person": (40, 60, 160)}
COLORS["sign"] = (240, 220, 40)
SIZES = {"car": (14, 24), "person": (20, 7), "sign": (8, 8)}  # height and width


def scene(number: int) -> dict:
    """Image, maps and annotations of one street."""
    draw = np.random.default_rng(number)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[HORIZON:] = STUFF.index("road")
    rows = np.arange(HEIGHT)
    ground = np.where(rows > HORIZON, 60.0 / np.maximum(rows - HORIZON, 1), 0.0)
    depth = np.repeat(ground[:, None], WIDTH, 1).astype(np.float32)
    normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    normals[HORIZON + 1 :, :, 1] = -1
    annotations = []
    for category, name in enumerate(THINGS):
        for place in range(1 + (name == "car")):
            tall, wide = (int(side * draw.uniform(0.8, 1.2)) for side in SIZES[name])
            foot = (
                int(draw.integers(HORIZON + 16, HEIGHT - 1)) if name != "sign" else HORIZON - int(draw.integers(0, 6))
            )
            left = int(draw.integers(0, (WIDTH - wide) // 2)) + (place == 0) * (WIDTH - wide) // 2
            box = (left, max(foot - tall, 0), left + wide, foot)
            middle = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, n) for n in (box[2] - left, box[3] - box[1])))) <= 1.05
            part = np.s_[box[1] : box[3], box[0] : box[2]]
            ids[part][middle] = STUFF.index(name)
            depth[part][middle] = ground[foot] if foot > HORIZON else 20.0
            normals[part][middle] = (0, 0, -1)
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[part] = middle
            annotations.append(
                {
                    "bbox": list(map(float, box)),
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": category,
                    "segmentation": [outline(box)],
                }
            )
    image = np.array([COLORS[name] for name in STUFF], float)[ids] + draw.normal(0, 8, (HEIGHT, WIDTH, 1))
    return {"image": image.clip(0, 255).astype(np.uint8), "ids": ids, "depth": depth, "normals": normals} | {
        "annotations": annotations
    }


def outline(box: tuple) -> list[float]:
    """An octagon in a box, as a polygon."""
    x0, y0, x1, y1 = box
    a, b = (x1 - x0) * 0.3, (y1 - y0) * 0.3
    points = [(x0 + a, y0), (x1 - a, y0), (x1, y0 + b), (x1, y1 - b), (x1 - a, y1), (x0 + a, y1), (x0, y1 - b)]
    return [float(value) for point in (*points, (x0, y0 + b)) for value in point]


def write(folder: Path, first: int, count: int) -> list[dict]:
    """Files of so many streets, and their records."""
    folder.mkdir(parents=True)
    records = []
    for number in range(first, first + count):
        street, stem = scene(number), str(folder / f"{number:03d}")
        Image.fromarray(street["image"]).save(f"{stem}.png")
        Image.fromarray(street["ids"]).save(f"{stem}_ids.png")
        np.save(f"{stem}_depth.npy", street["depth"])
        np.save(f"{stem}_normals.npy", street["normals"])
        records.append(
            {
                "file_name": f"{stem}.png",
                "height": HEIGHT,
                "width": WIDTH,
                "sem_seg_file_name": f"{stem}_ids.png",
                "depth_file_name": f"{stem}_depth.npy",
                "normals_file_name": f"{stem}_normals.npy",
                "annotations": street["annotations"],
            }
        )
    return records
