#!/usr/bin/env python3
"""Measures how many samples a second the training's loader gives of MTAN's NYUv2, relative to MTAN's published loader.

tools/benchmark_loader.py [--root DIR] [--workers N] [--rounds R] [--augmentations TEXT ...]

Both read the same arrays of 288 x 384 pixels, of DIR/nyuv2/train or made up, and augment them. They take turns, and the
ratio is the median over the rounds. See docs/dense_datasets.md.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import get_cfg
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, build_train_loader, register_all

HEIGHT, WIDTH = 288, 384
SAMPLES = 24  # that are made up: 84 MB, which the system keeps in memory
BATCH = 2
WARM_UP = 1  # rounds that do not count
KINDS = ("image", "label", "depth", "normal")
SCALES = (1.0, 1.2, 1.5)
AUGMENTATIONS = ["RandomScaleCrop((1.0, 1.2, 1.5))", "RandomFlip()"]


class PublishedArrays(Dataset):
    """MTAN's data set of NYUv2 as its authors describe it, in the operations that they name.

    Four arrays are loaded and their axes rolled, all of them as float32; the scale-crop and the flip are torch's.
    """

    def __init__(self, folder: Path) -> None:
        """Args: ``folder`` of the split."""
        self._folder = folder
        self._length = len(list((folder / "image").glob("*.npy")))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image, label, depth, normal = (np.load(self._folder / kind / f"{index}.npy") for kind in KINDS)
        tensors = (
            torch.from_numpy(np.moveaxis(image, -1, 0)),
            torch.from_numpy(label),
            torch.from_numpy(np.moveaxis(depth, -1, 0)),
            torch.from_numpy(np.moveaxis(normal, -1, 0)),
        )
        image, label, depth, normal = scale_crop(*tensors)
        if random.random() < 0.5:
            image, label, depth, normal = (torch.flip(one, dims=[-1]) for one in (image, label, depth, normal))
            normal[0] *= -1
        return image.float(), label.float(), depth.float(), normal.float()


def scale_crop(image: Tensor, label: Tensor, depth: Tensor, normal: Tensor) -> tuple[Tensor, ...]:
    """A window of 1 / s of the size, at random, resized to the whole; depth / s.

    Args:
        image: (3, H, W).
        label: (H, W).
        depth: (1, H, W).
        normal: (3, H, W).
    """
    height, width = image.shape[-2:]
    scale = random.choice(SCALES)
    h, w = int(height / scale), int(width / scale)
    y, x = random.randint(0, height - h), random.randint(0, width - w)

    def resized(values: Tensor, **how: Any) -> Tensor:
        return F.interpolate(values[None, :, y : y + h, x : x + w], size=(height, width), **how)[0]

    return (
        resized(image, mode="bilinear", align_corners=True),
        resized(label[None], mode="nearest")[0],
        resized(depth, mode="nearest") / scale,
        resized(normal, mode="bilinear", align_corners=True),
    )


def make_up(root: Path, dtype: str = "float32") -> None:
    """Writes ``SAMPLES`` samples in MTAN's layout: two planes, and a border without labels."""
    generator = np.random.default_rng(0)
    inside = np.zeros((HEIGHT, WIDTH, 1), dtype)
    inside[6:-6, 8:-8] = 1
    tiles = generator.integers(0, 13, (HEIGHT // 16, WIDTH // 16)).repeat(16, 0).repeat(16, 1)
    floor = (np.arange(HEIGHT) > HEIGHT // 2)[:, None, None]
    for i in range(SAMPLES):
        arrays = {
            "image": generator.integers(0, 256, (HEIGHT, WIDTH, 3)) / 255,
            "label": np.where(inside[..., 0] > 0, tiles, -1),
            "depth": inside * generator.uniform(1, 9, (HEIGHT, WIDTH, 1)),
            "normal": inside * np.where(floor, [0, -1, 0], [0.6, 0, -0.8]),
        }
        for kind, array in arrays.items():
            path = root / "nyuv2" / "train" / kind / f"{i}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array.astype(dtype))


def config(augmentations: Sequence[str], workers: int) -> Any:
    """Of the three tasks on NYUv2."""
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = ["semantic", "depth", "normals"]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 13
    cfg.MODEL.DEPTH_HEAD.SCALING = "divide"
    cfg.DATASETS.TRAIN = ("nyuv2_mtan_train",)
    cfg.INPUT.AUGMENTATIONS = list(augmentations)
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.SEED = BATCH, workers, 0
    return cfg


def endless(loader: DataLoader) -> Iterator[Any]:
    """Its batches, again and again."""
    while True:
        yield from loader


def measure(ours: Iterator[Any], theirs: Iterator[Any], rounds: int, batches: int) -> tuple[float, float, float]:
    """Median samples a second of both, and the median of their ratio in one round."""
    rates: list[tuple[float, float]] = []
    for round_number in range(WARM_UP + rounds):
        seconds = {}
        for name, stream in (("ours", ours), ("theirs", theirs))[:: 1 if round_number % 2 else -1]:
            start = time.perf_counter()
            for _ in range(batches):
                next(stream)
            seconds[name] = time.perf_counter() - start
        if round_number >= WARM_UP:
            rates.append((BATCH * batches / seconds["ours"], BATCH * batches / seconds["theirs"]))
    own, other = map(statistics.median, zip(*rates, strict=True))
    return own, other, statistics.median(a / b for a, b in rates)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds nyuv2/ (default: made up)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes of each (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, metavar="R", help="(default: %(default)s)")
    parser.add_argument("--batches", type=int, default=12, metavar="B", help="of a round (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of made up arrays")
    parser.add_argument("--augmentations", nargs="+", metavar="TEXT", default=AUGMENTATIONS, help="ours")
    args = parser.parse_args(arguments)
    if args.workers < 0 or min(args.rounds, args.batches) < 1:
        parser.error("--workers must be at least 0, --rounds and --batches at least 1")
    return args


def main(arguments: Sequence[str] | None = None) -> float:
    """Measures, prints the table and gives the ratio."""
    args = parse(arguments)
    torch.set_num_threads(1)  # as in a worker
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder)
        if args.root is None:
            make_up(root, args.dtype)
        register_all(str(root))
        ours = build_train_loader(config(args.augmentations, args.workers))
        published = PublishedArrays(root / "nyuv2" / "train")
        theirs = DataLoader(published, batch_size=BATCH, shuffle=True, num_workers=args.workers)
        own, other, ratio = measure(iter(ours), endless(theirs), args.rounds, args.batches)
    print(f"{len(published)} samples of {HEIGHT} x {WIDTH}, {args.workers} workers, {os.cpu_count()} CPU cores\n")
    print("| loader | samples/s | ratio |\n| --- | ---: | ---: |")
    print(f"| MTAN's | {other:.1f} | 1.00 |\n| ours | {own:.1f} | {ratio:.2f} |")
    return ratio


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"error: {error}")
