#!/usr/bin/env bash
# Pillow 13.0.0 and OpenCV 5.0.0: resizing by the nearest pixel chooses irregularly where a new pixel's middle falls
# exactly between two pixels, in Pillow's Image.NEAREST and in OpenCV's INTER_NEAREST_EXACT. One would guess that they
# always take the same one of the two, and of "exact" above all. Both add the step up from pixel to pixel, so that
# rounding decides: from 192 to 288 pixels, the window of a label map that MTAN's augmentation magnifies 1.5 times, 96 of
# 288 middles are such ties; 42 take the pixel before and 54 the one after. OpenCV's plain INTER_NEAREST takes the one
# before for all of them. detectron2 resizes label maps of 8 bits with Pillow: an enlarged map and a map of depth that
# something else resized are there a pixel apart.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q pillow==13.0.0 numpy==2.2.6 opencv-python-headless==5.0.0.93
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from fractions import Fraction

import cv2
import numpy as np
import PIL
from PIL import Image

SIZES = ((192, 288), (256, 384), (36, 90))
# By what resizes, for each of SIZES: ties that take the pixel before, and the one after.
EXPECTED = {
    "Pillow NEAREST": [(42, 54), (74, 54), (9, 9)],
    "OpenCV INTER_NEAREST_EXACT": [(42, 54), (74, 54), (9, 9)],
    "OpenCV INTER_NEAREST": [(96, 0), (128, 0), (18, 0)],
}
RESIZE = {
    "Pillow NEAREST": lambda row, size: np.asarray(Image.fromarray(row).resize(size, Image.NEAREST)),
    "OpenCV INTER_NEAREST_EXACT": lambda row, size: cv2.resize(row, size, interpolation=cv2.INTER_NEAREST_EXACT),
    "OpenCV INTER_NEAREST": lambda row, size: cv2.resize(row, size, interpolation=cv2.INTER_NEAREST),
}


def ties(resize, before, after):
    """How many new pixels exactly between two take the one before, and the one after."""
    resized = resize(np.arange(before, dtype=np.float32)[None].repeat(2, 0), (after, 2))[0]
    places = [(i, Fraction(2 * i + 1, 2) * Fraction(before, after)) for i in range(after)]
    taken = [int(resized[i]) - place for i, place in places if place.denominator == 1]
    return taken.count(-1), taken.count(0)


print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}")
seen = {name: [ties(resize, *sizes) for sizes in SIZES] for name, resize in RESIZE.items()}
for name, counts in seen.items():
    print(f"{name}: " + ", ".join(f"{a} -> {b}: {x} before, {y} after" for (a, b), (x, y) in zip(SIZES, counts)))
sys.exit(0 if seen == EXPECTED else "this is not what it was")
PYTHON
