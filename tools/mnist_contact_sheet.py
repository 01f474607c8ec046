#!/usr/bin/env python3
"""Writes a picture of images of the Multi-MNIST family with their classes, to look at.

tools/mnist_contact_sheet.py [--split train|val|test] [--columns N] [--out FILE.png]
"""

from __future__ import annotations

import argparse
import os
import sys

import cv2
import numpy as np

from mtl_d2.data import DataError
from mtl_d2.data.datasets.mnist import RECIPES, SPLITS, compose
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.palette import Palette


def row(root: str, name: str, split: str, columns: int, side: int = 252) -> np.ndarray:
    """Evenly spread images of one data set, (side + text, columns * side, 3)."""
    found = compose(root, name, split)
    tasks = ("left", "right")
    cells = []
    for i in np.linspace(0, len(found["images"]) - 1, columns).astype(int):
        canvas = Canvas(np.repeat(found["images"][i][..., None], 3, 2), Palette(()))
        for task, category, names in zip(tasks, found["labels"][i].tolist(), RECIPES[name].classes, strict=True):
            canvas.add_class(task, category, names)
        cell = canvas.picture().pixels
        cells.append(cv2.resize(cell, (side, side + 44), interpolation=cv2.INTER_AREA))
    return np.concatenate(cells, 1)


def main(arguments: list[str] | None = None) -> None:
    """One row for each data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--out", default="mnist_contact_sheet.png")
    args = parser.parse_args(arguments)
    root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    try:
        sheet = np.concatenate([row(root, name, args.split, args.columns) for name in RECIPES])
    except DataError as error:
        sys.exit(f"error: {error}")
    if not cv2.imwrite(args.out, sheet[..., ::-1]):
        sys.exit(f"error: --out {args.out} cannot be written")
    print(args.out)


if __name__ == "__main__":
    main()
