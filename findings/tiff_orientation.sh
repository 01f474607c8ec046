#!/usr/bin/env bash
# A plain (not compressed) TIFF of 8 or 16 bits whose tag Orientation is 5 to 8, such as 6, "turn it to the right". Pillow
# 12.3.0 turns TIFFs by itself; opened by a handle the pixels are right, opened by its path (then it is mapped into
# memory) they are scrambled: rows are cut at the height instead of the width, without an error. Floats, and compressed
# files, are right either way. OpenCV 4.12.0 turns TIFFs even with IMREAD_UNCHANGED, which leaves PNGs as they are, and
# returns None for orientations 5 to 8 unless the image is square.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q pillow==12.3.0 opencv-python-headless==4.12.0.88 numpy==2.2.6
cd "$work"
OPENCV_LOG_LEVEL=SILENT "$work/venv/bin/python" - <<'PYTHON'
import struct
import sys

import cv2
import numpy as np
from PIL import Image


def tiff(pixels, orientation):
    """Baseline TIFF 6.0: one strip, one channel."""
    data = pixels.tobytes()
    tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8 * pixels.itemsize, 259: 1, 262: 1, 273: 8}
    tags |= {274: orientation, 277: 1, 278: pixels.shape[0], 279: len(data), 339: 3 if pixels.dtype.kind == "f" else 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def verdict(found, upright, stored):
    if found is None:
        return "None"
    for name, pixels in (("upright", upright), ("as stored", stored)):
        if found.shape == pixels.shape and np.array_equal(found, pixels):
            return name
    return f"scrambled, first row {found[0].tolist()}"


seen = {}
for dtype in (np.uint8, np.uint16, np.float32):
    stored = np.arange(24, dtype=dtype).reshape(4, 6)
    for orientation, upright in ((3, stored[::-1, ::-1]), (6, np.rot90(stored, -1))):
        with open("a.tif", "wb") as file:
            file.write(tiff(stored, orientation))
        by_path = np.asarray(Image.open("a.tif"))
        with open("a.tif", "rb") as file:
            by_handle = np.asarray(Image.open(file))
        by_opencv = cv2.imread("a.tif", cv2.IMREAD_UNCHANGED)
        row = [verdict(found, upright, stored) for found in (by_path, by_handle, by_opencv)]
        print(f"{dtype.__name__}, orientation {orientation}: Pillow by path {row[0]}; by handle {row[1]}; OpenCV {row[2]}")
        seen[dtype.__name__, orientation] = [one.split(",")[0] for one in row]

exif = Image.Exif()
exif[0x0112] = 3
Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save("a.png", exif=exif)
png = cv2.imread("a.png", cv2.IMREAD_UNCHANGED)[0, 0] == 0
print("PNG, orientation 3: OpenCV", "as stored" if png else "upright")

expected = {(name, 3): ["upright"] * 3 for name in ("uint8", "uint16", "float32")}
expected |= {(name, 6): ["scrambled", "upright", "None"] for name in ("uint8", "uint16")}
expected["float32", 6] = ["upright", "upright", "None"]
sys.exit(0 if seen == expected and png else 1)
PYTHON
