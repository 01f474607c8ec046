#!/usr/bin/env bash
# Label maps as grey PNGs of 1, 2 or 4 bits hold ids; pypng writes and reads them as such. Pillow 12.3.0 and OpenCV
# 4.12.0 (IMREAD_UNCHANGED) give them as brightness: class 3 is 255 in a file of 2 bits and 51 in one of 4, both valid
# ids of another class or of "ignored". Of 1 bit Pillow gives 1 and OpenCV 255. With 8 bits, or a palette, Pillow gives
# the ids; of a palette OpenCV gives colours.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q \
    pypng==0.20220715.0 pillow==12.3.0 opencv-python-headless==4.12.0.88 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
import png
from PIL import Image

surprises = []
for bits in (1, 2, 4, 8):
    last = min(2**bits, 4) - 1  # the largest of the ids 0, 1, 2, 3 that the file can hold
    for palette in (None, [(20 * i, 10, 10) for i in range(last + 1)]):
        kind = {"palette": palette} if palette else {"greyscale": True}
        with open("map.png", "wb") as file:
            png.Writer(1, 1, bitdepth=bits, **kind).write(file, [[last]])
        with open("map.png", "rb") as file:
            by_pypng = list(png.Reader(file=file).read()[2])[0][0]
        by_pillow = int(np.asarray(Image.open("map.png")).reshape(-1)[0])
        by_opencv = cv2.imread("map.png", cv2.IMREAD_UNCHANGED)
        by_opencv = tuple(map(int, by_opencv.reshape(-1)))
        name = "palette" if palette else "grey"
        print(f"{name}, {bits} bits, id {last}: pypng {by_pypng}, Pillow {by_pillow}, OpenCV {by_opencv}")
        surprises.append((name, bits, by_pypng == last, by_pillow, by_opencv))

expected = [
    ("grey", 1, True, 1, (255,)),
    ("palette", 1, True, 1, (10, 10, 20)),
    ("grey", 2, True, 255, (255,)),
    ("palette", 2, True, 3, (10, 10, 60)),
    ("grey", 4, True, 51, (51,)),
    ("palette", 4, True, 3, (10, 10, 60)),
    ("grey", 8, True, 3, (3,)),
    ("palette", 8, True, 3, (10, 10, 60)),
]
sys.exit(0 if surprises == expected else 1)
PYTHON
