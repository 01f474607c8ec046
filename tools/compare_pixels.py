#!/usr/bin/env python3
"""Says how far images read and resized by OpenCV and torch are from Pillow's, in levels of 255.

tools/compare_pixels.py FOLDER [--sides S ...]

See docs/loader.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import transforms as T

from mtl_d2.data.image_library import LIBRARIES, OPENCV, PILLOW
from mtl_d2.data.images import read_file

ENDINGS = (".jpg", ".jpeg", ".png")


def compare(paths: Sequence[Path], side: int | None) -> tuple[int, float]:
    """Largest and mean distance of the two libraries' pixels; ``side`` is the shorter one, None = not resized."""
    largest, means = 0, []
    for path in paths:
        shown = []
        for name in (OPENCV, PILLOW):
            seen = LIBRARIES[name].seen(read_file(str(path), "BGR", LIBRARIES[name].read))
            T.AugmentationList([T.ResizeShortestEdge(side, 10**6)] if side else [])(seen)
            shown.append(seen.planes().numpy().astype(int))
        levels = np.abs(shown[0] - shown[1])
        largest = max(largest, int(levels.max()))
        means.append(levels.mean())
    return largest, float(np.mean(means))


def main(arguments: Sequence[str] | None = None) -> dict[int | None, tuple[int, float]]:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of images, with subfolders")
    parser.add_argument("--sides", type=int, nargs="+", metavar="S", default=[240, 320, 480, 640, 800])
    args = parser.parse_args(arguments)
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        parser.error(f"FOLDER must hold images ({', '.join(ENDINGS)}), but {args.folder} has none")
    print(f"{len(paths)} images\n\n| shorter side | largest | mean |\n| ---: | ---: | ---: |")
    figures = {}
    for side in (None, *args.sides):
        figures[side] = compare(paths, side)
        print(f"| {side or 'as stored'} | {figures[side][0]} | {figures[side][1]:.4f} |", flush=True)
    return figures


if __name__ == "__main__":
    main()
