"""Writes a few frames as BTS lists NYU depth: two to train on, one to test on."""

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 40, 60
NEAR, FAR = 2.0, 3.0  # metres, in the lower and the upper half; the first row has no label
FRAMES = (
    ("train", "sync", "/", "kitchen_0028b/rgb_00045"),
    ("train", "sync", "/", "attic_0001/rgb_00001"),
    ("test", "official_splits/test", "", "kitchen/rgb_00045"),
)


def write_tiny_nyu_depth(root: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """Below ``root``; ``size`` is (height, width)."""
    base = root / "nyu_depth_v2"
    lines: dict[str, list[str]] = {}
    for number, (split, folder, slash, frame) in enumerate(FRAMES):
        depth = frame.replace("/rgb_", "/sync_depth_") + ".png"
        millimetres = np.full(size, 1000 * NEAR, np.uint16)
        millimetres[: size[0] // 2] = 1000 * FAR
        millimetres[0] = 0
        (base / folder / frame).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(base / folder / f"{frame}.jpg"), np.full((*size, 3), 60 + 40 * number, np.uint8))
        assert cv2.imwrite(str(base / folder / depth), millimetres)
        lines.setdefault(split, []).append(f"{slash}{frame}.jpg {slash}{depth} 518.8579")
    for split, of in lines.items():
        (base / f"nyudepthv2_{split}_files_with_gt.txt").write_text("\n".join(of) + "\n")
