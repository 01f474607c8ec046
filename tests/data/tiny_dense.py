"""Writes tiny copies of the published layouts of dense data sets: a floor and a wall in front of a camera."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from .matlab_files import save_73

SIZE = (24, 32)
FOLDERS = ("image", "label", "depth", "normal")
FLOOR = np.arange(24)[:, None] * np.ones(32, int)[None] >= 14  # (24, 32)


def image(number: int) -> np.ndarray:
    """(24, 32, 3) uint8."""
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)


def depth(number: int) -> np.ndarray:
    """(24, 32) float32 metres; one pixel without."""
    metres = np.where(FLOOR, 2.0, 4.0 + number).astype(np.float32)
    metres[0, 0] = 0
    return metres


def normals() -> np.ndarray:
    """(24, 32, 3) float32, x right, y down, z forward; one pixel without."""
    vectors = np.where(FLOOR[..., None], [0, -1, 0], [0, 0, -1]).astype(np.float32)
    vectors[0, 0] = 0
    return vectors


def labels(floor: int, wall: int) -> np.ndarray:
    """(24, 32) int; one pixel of -1."""
    ids = np.where(FLOOR, floor, wall)
    ids[0, 0] = -1
    return ids


def write_mtan(
    folder: Path, counts: dict, classes: tuple, folders: tuple = ("image", "label", "depth", "normal")
) -> None:
    """``folder/SPLIT/KIND/I.npy`` in the dtypes in which MTAN's arrays are published."""
    for split, count in counts.items():
        for i in range(count):
            arrays = {
                "image": image(i).astype(np.float32) / 255,
                "depth": depth(i)[..., None],
                "normal": normals(),
            }
            for kind in folders:
                path = folder / split / kind / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, arrays.get(kind, labels(*classes).astype(np.float32)))


def write_official_nyu(root: Path, images: int = 5) -> None:
    """``nyu_depth_v2/``: the labelled file in format 7.3, the splits from 1, and the table of 894 labels."""
    folder = root / "nyu_depth_v2"
    folder.mkdir(parents=True)
    raw = np.where(FLOOR, 11, 894)  # numbers from 1 in the 894 names
    raw[0, 0] = 0
    save_73(
        folder / "nyu_depth_v2_labeled.mat",
        {
            "images": np.stack([image(i) for i in range(images)], -1),
            "depths": np.stack([depth(i) for i in range(images)], -1),
            "labels": np.stack([raw] * images, -1).astype(np.uint16),
        },
    )
    savemat(
        folder / "splits.mat",
        {"trainNdxs": np.array([[2], [3], [5]], np.uint16), "testNdxs": np.array([[1], [4]], np.uint16)},
    )
    of_40 = np.full((1, 894), 40, np.uint8)
    of_40[0, 10] = 2  # floor
    of_40[0, 893] = 1  # wall
    savemat(folder / "classMapping40.mat", {"mapClass": of_40, "className": np.array([["wall"]], object)})


def write_nyud_mt(root: Path, archive: str, names: tuple[str, ...] = ("0003", "0001")) -> None:
    """``NYUD_MT/`` as ``astmt`` or ``survey`` packs it."""
    base = root / "NYUD_MT"
    for folder in ("gt_sets", "images", "segmentation", "normals", "depth", "edge"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        (base / "gt_sets" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    ids = np.maximum(labels(2, 1), 0).astype(np.uint8)  # of 40, from 1; one pixel of background
    for i, name in enumerate(names):
        Image.fromarray(image(i)).save(base / "images" / f"{name}.jpg", quality=95)
        if archive == "astmt":
            savemat(base / "segmentation" / f"{name}.mat", {"segmentation": ids})
            savemat(base / "depth" / f"{name}.mat", {"depth": depth(i)})
            coded = np.rint((normals() + 1) * 127.5).astype(np.uint8)
            Image.fromarray(coded).save(base / "normals" / f"{name}.jpg", quality=100, subsampling=0)
        else:
            Image.fromarray(ids).save(base / "segmentation" / f"{name}.png")
            np.save(base / "depth" / f"{name}.npy", depth(i))
            np.save(base / "normals" / f"{name}.npy", normals())
