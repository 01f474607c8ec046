"""NYU depth as BTS lists it: images and depth alone, 24,231 frames of the videos to train on, the 654 of the test set.

Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012. Lee et al., "From Big to
Small: Multi-Scale Local Planar Guidance for Monocular Depth Estimation", 2019 (https://arxiv.org/abs/1907.10326), whose
code (cleinc/bts) has the lists. The layout::

    nyu_depth_v2/sync/SCENE/{rgb_*.jpg,sync_depth_*.png}
    nyu_depth_v2/official_splits/test/SCENE/{rgb_*.jpg,sync_depth_*.png}
    nyu_depth_v2/nyudepthv2_{train,test}_files_with_gt.txt              (lines of image, depth, focal length)
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.errors import DataError
from mtl_d2.data.lists import read_lines
from mtl_d2.data.missing_labels import require_files
from mtl_d2.data.roots import require_folder

# The folder that each list's lines begin in.
FOLDERS = {"train": "sync", "test": "official_splits/test"}
NEAREST, FARTHEST = 1e-3, 10.0  # metres, that BTS evaluates


def register(root: str) -> None:
    """Put ``nyu_depth_{train,test}`` into detectron2's catalogs, and ``nyu_depth_test_eigen_crop``.

    Args:
        root: the folder that holds ``nyu_depth_v2/``. Names registered before are registered anew.
    """
    shown = {"depth_encoding": "millimetres", "depth_range": (NEAREST, FARTHEST)}
    for name, split, crop in (
        ("nyu_depth_train", "train", {}),
        ("nyu_depth_test", "test", {}),
        ("nyu_depth_test_eigen_crop", "test", {"depth_crop": "eigen"}),
    ):
        register_anew(name, functools.cache(functools.partial(load, root, split)), **shown, **crop)


def load(root: str, split: str) -> list[dict[str, Any]]:
    """Records of the images of a list that have a depth map, in its order.

    Args:
        root: the folder that holds ``nyu_depth_v2/``.
        split: a key of ``FOLDERS``.

    Returns:
        detectron2's dataset dicts, whose size the images say.

    Raises:
        DataError: the folder or the list is missing, a line of it is none, or depth maps are missing.
    """
    base = require_folder(Path(root, "nyu_depth_v2"), "nyu_depth_v2/sync and nyu_depth_v2/official_splits/test")
    path, folder = base / f"nyudepthv2_{split}_files_with_gt.txt", base / FOLDERS[split]
    lines = read_lines(path, "put it there, it comes with BTS's code in train_test_inputs")
    records = [_record(path, folder, line) for line in lines]
    require_files([r["depth_file_name"] for r in records], f"unpack BTS's {FOLDERS[split]} in {base}")
    return records


def _record(path: Path, folder: Path, line: str) -> dict[str, Any]:
    words = line.split()
    if len(words) not in (2, 3):
        raise DataError(
            f"{path}: expected lines of an image, its depth map and a focal length, found {line!r}: fetch "
            "the list again"
        )
    image, depth = (word.lstrip("/") for word in words[:2])  # the list of the training set begins lines with a slash
    return {
        "file_name": str(folder / image),
        "image_id": image.removesuffix(".jpg"),
        "depth_file_name": str(folder / depth),
    }
