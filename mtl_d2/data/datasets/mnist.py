"""Multi-task data sets that are composed of MNIST and Fashion-MNIST images.

``multi_mnist``, ``multi_fashion``, ``multi_fashion_and_mnist``: Lin et al., "Pareto Multi-Task Learning", NeurIPS 2019,
section 5.2. ``multi_digit_mnist``: Sun's MultiDigitMNIST, as "Regularizing Deep Multi-Task Networks using Orthogonal
Gradients" (CosReg), section 4, changes it. docs/datasets.md says what is taken from where.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_d2.data.cache import Arrays, cached
from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.compose import Array, Draws, Pool, overlap, side_by_side
from mtl_d2.data.datasets.idx import read_pair
from mtl_d2.data.errors import DataError

SPLITS = ("train", "val", "test")
TASKS = ("class_left", "class_right")
VERSION = 1  # of the composition: another one makes other images
OVERLAPPING = {"train": 120_000, "val": 10_000, "test": 10_000}  # pairs; those of train are of the training files
DIGIT_PAIRS = {"train": 16, "val": 4, "test": 5}  # of the 25 pairs of an even and an odd digit
IMAGES_OF_A_PAIR = 1000

# Folders below the root in which the four files are looked for: as published, and as torchvision leaves them.
FOLDERS = {"mnist": ("mnist", "MNIST/raw"), "fashion_mnist": ("fashion_mnist", "FashionMNIST/raw")}
PARTS = ("train", "t10k")
DIGITS = tuple("0123456789")
CLOTHES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

logger = logging.getLogger(__name__)
Pools = Mapping[str, Pool]  # by "mnist/train" and the like


@dataclass(frozen=True)
class Recipe:
    """How one data set is made.

    Attributes:
        sources: keys of ``FOLDERS``.
        classes: of the left and of the right image.
        compose: (pools, split, draws) -> images and labels (N, 2).
    """

    sources: tuple[str, ...]
    classes: tuple[tuple[str, ...], tuple[str, ...]]
    compose: Callable[[Pools, str], tuple[Array, Array]]


def _overlapping(name: str, left: str, right: str, pools: Pools, split: str) -> tuple[Array, Array]:
    part = "train" if split == "train" else "t10k"
    first, second = pools[f"{left}/{part}"], pools[f"{right}/{part}"]
    return overlap(first, second, OVERLAPPING[split], Draws(f"{name} {split}"), differ=left == right)


def _digit_pairs(name: str, pools: Pools, split: str) -> tuple[Array, Array]:
    parts = [pools[f"mnist/{part}"] for part in PARTS]
    pool = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    pairs = list(product(range(0, 10, 2), range(1, 10, 2)))
    order = Draws(f"{name} pairs").order(len(pairs))
    first = sum(DIGIT_PAIRS[s] for s in SPLITS[: SPLITS.index(split)])
    split_pairs = [pairs[k] for k in sorted(order[first : first + DIGIT_PAIRS[split]])]
    images, labels = side_by_side(pool, split_pairs, IMAGES_OF_A_PAIR, Draws(f"{name} {split}"))
    return images, labels // 2  # 0 2 4 6 8 and 1 3 5 7 9 become 0 .. 4


RECIPES: dict[str, Recipe] = {
    "multi_mnist": Recipe(("mnist",), (DIGITS, DIGITS), partial(_overlapping, "multi_mnist", "mnist", "mnist")),
    "multi_fashion": Recipe(
        ("fashion_mnist",),
        (CLOTHES, CLOTHES),
        partial(_overlapping, "multi_fashion", "fashion_mnist", "fashion_mnist"),
    ),
    "multi_fashion_and_mnist": Recipe(
        ("mnist", "fashion_mnist"),
        (DIGITS, CLOTHES),
        partial(_overlapping, "multi_fashion_and_mnist", "mnist", "fashion_mnist"),
    ),
    "multi_digit_mnist": Recipe(("mnist",), (DIGITS[::2], DIGITS[1::2]), partial(_digit_pairs, "multi_digit_mnist")),
}


def register(root: str) -> None:
    """Put ``<recipe>_{train,val,test}`` into detectron2's catalogs; nothing is read before it is asked for.

    Args:
        root: the folder that holds ``mnist/`` and ``fashion_mnist/``. Names registered before are registered anew.
    """
    for name, recipe in RECIPES.items():
        for split in SPLITS:
            full = f"{name}_{split}"
            classes = {task: list(names) for task, names in zip(TASKS, recipe.classes, strict=True)}
            read = functools.cache(partial(load, root, name, split))
            register_anew(full, read, classes=classes, evaluator_type="classification")


def load(root: str, name: str, split: str) -> list[dict[str, Any]]:
    """Records that hold their ``image``, (1, H, W) uint8, and the class ids ``class_left`` and ``class_right``.

    Args:
        root: the folder that holds ``mnist/`` and ``fashion_mnist/``.
        name: a key of ``RECIPES``.
        split: one of ``SPLITS``.

    Raises:
        DataError: a source file is missing or damaged.
    """
    arrays = compose(root, name, split)
    images = torch.from_numpy(arrays["images"])[:, None]
    height, width = images.shape[2:]
    labels = arrays["labels"].tolist()
    return [
        {
            "file_name": f"{name}_{split}/{i:06d}",
            "image": image,
            "height": height,
            "width": width,
            TASKS[0]: left,
            TASKS[1]: right,
        }
        for i, (image, (left, right)) in enumerate(zip(images.unbind(0), labels, strict=True))
    ]


def compose(root: str, name: str, split: str) -> Arrays:
    """``images`` (N, H, W) uint8 and ``labels`` (N, 2) uint8 of one split, from the cache or made now."""
    recipe = RECIPES[name]
    files = {source: _find(Path(root), source) for source in recipe.sources}
    sums = sha256(b"".join(sha256(path.read_bytes()).digest() for paths in files.values() for path in paths))
    key = f"{name}_{split}-v{VERSION}-{sums.hexdigest()[:16]}"

    def make() -> Arrays:
        logger.info("composing %s_%s", name, split)
        pools: dict[str, Pool] = {}
        for source, (train_x, train_y, test_x, test_y) in files.items():
            pools |= {f"{source}/train": read_pair(train_x, train_y), f"{source}/t10k": read_pair(test_x, test_y)}
        images, labels = recipe.compose(pools, split)
        return {"images": images, "labels": labels}

    return cached(key, make)


def _find(root: Path, source: str) -> list[Path]:
    """Images and labels of the training part, and of the other.

    Raises:
        DataError: says what belongs where.
    """
    names = [f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
    missing: dict[str, list[str]] = {}
    for folder in FOLDERS[source]:
        paths = [next((p for p in (root / folder / f"{n}.gz", root / folder / n) if p.is_file()), None) for n in names]
        present = [path for path in paths if path is not None]
        if len(present) == len(names):
            return present
        missing[folder] = [n for n, path in zip(names, paths, strict=True) if path is None]
    nearest = min(missing, key=lambda folder: len(missing[folder]))
    raise DataError(
        f"{root / nearest} must hold the four IDX files {', '.join(names)}, each gzipped (.gz) or not; missing: "
        f"{', '.join(missing[nearest])}. Put them there, or into {root / FOLDERS[source][1]} as torchvision does, or "
        "set DETECTRON2_DATASETS to the folder above"
    )
