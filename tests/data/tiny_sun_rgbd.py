"""Writes a few scenes in SUN RGB-D's own layout and in that of its mirror."""

from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from .matlab_files import save_73

HEIGHT, WIDTH = 40, 56
AUTHORS = "/n/fs/sun3d/data/SUNRGBD/"
TRAIN, TEST = ("kv1/NYUdata/NYU0002", "xtion/a/b"), ("kv2/data/0003_x/y",)
ORDER = (TRAIN[0], TEST[0], TRAIN[1])  # of the metadata and of the label maps
MILLIMETRES = 2001  # has bits among the lowest three
# Stored values of the four quarters: no label, wall, bed, bag.
QUARTERS = (0, 1, 4, 37)


def label_map(number: int = 0) -> np.ndarray:
    """(H, W); of each number another first row."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, value in enumerate(QUARTERS):
        row, column = place // 2 * HEIGHT // 2, place % 2 * WIDTH // 2
        ids[row : row + HEIGHT // 2, column : column + WIDTH // 2] = value
    ids[0] = number + 2
    return ids


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def image(brightness: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), brightness, np.uint8)


def depth(stored: int) -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH), stored, np.uint16)
    pixels[:, 0] = 0
    return pixels


def cells(texts: list[str]) -> np.ndarray:
    array = np.empty((len(texts), 1), object)
    array[:, 0] = texts
    return array


def write_tiny_sun_rgbd(root: Path) -> None:
    """As published."""
    base = root / "sun_rgbd"
    for number, folder in enumerate(ORDER):
        write(base / "SUNRGBD" / folder / f"image/{number}.jpg", image(60 * number + 30))
        for kind in ("depth", "depth_bfx"):
            rotated = (MILLIMETRES << 3 | MILLIMETRES >> 13) & 0xFFFF
            write(base / "SUNRGBD" / folder / kind / f"{number}_abs.png", depth(rotated))
    toolbox = base / "SUNRGBDtoolbox"
    for folder in ("Metadata", "traintestSUNRGBD"):
        (toolbox / folder).mkdir(parents=True)
    split = {"alltrain": cells([AUTHORS + f for f in TRAIN]).T, "alltest": cells([AUTHORS + f for f in TEST]).T}
    savemat(toolbox / "traintestSUNRGBD/allsplit.mat", split)
    write_meta(root)
    labels = {"seglabel": [label_map(number) for number in range(len(ORDER))]}
    save_73(toolbox / "Metadata/SUNRGBD2Dseg.mat", {"SUNRGBD2Dseg": labels})


def write_meta(root: Path, without: str = "") -> None:
    """The metadata, less a field."""
    keys = [key for key in ("rgbpath", "rgbname", "depthname", "K") if key != without]
    meta = np.empty((1, len(ORDER)), [(key, object) for key in keys])
    for number, folder in enumerate(ORDER):
        values = {
            "rgbpath": f"{AUTHORS}{folder}/image/{number}.jpg",
            "rgbname": f"{number}.jpg",
            "depthname": f"{number}_abs.png",
            "K": np.eye(3),
        }
        meta[0, number] = tuple(values[key] for key in keys)
    savemat(root / "sun_rgbd/SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat", {"SUNRGBDMeta": meta})


def write_tiny_mirror(root: Path) -> None:
    """One image of each split, and a second one to train on."""
    base = root / "sun_rgbd"
    for split, numbers, before in (("train", (1, 2), 5050), ("test", (1,), 0)):
        for n in numbers:
            write(base / f"SUNRGBD-{split}_images/img-{n:06d}.jpg", image(60 * n))
            write(base / f"sunrgbd_train_test_labels/img-{n + before:06d}.png", label_map(10 * (before > 0) + n))
            write(base / f"sunrgbd_{split}_depth/{n}.png", depth(15000))
