#!/usr/bin/env python3
"""Time of one image in torch and in onnxruntime on one CPU core, and whether they predict the same: docs/export.md.

tools/benchmark_export.py --run OUTPUT_DIR [--sizes 96x160 736x1280] [--rounds 9]

Each round runs both, one after the other; the numbers are medians over rounds of CPU time, in milliseconds, of the
whole prediction at the size of the image: boxes that were selected, maps of all classes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mtl_d2.data.checks.records import read
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.export.check import drawn_pictures, expected
from mtl_d2.export.comparison import differences
from mtl_d2.export.network import ExportedNetwork, evaluating
from mtl_d2.export.onnx_file import run_onnx
from mtl_d2.export.run import Wish, export
from mtl_d2.prediction.network import Network, load

BATCH = {True: 5, False: 1}  # runs of a small and of a large image that are timed together
SMALL = 200_000  # pixels


def main() -> None:
    """Prints a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, metavar="OUTPUT_DIR", help="folder of a training")
    parser.add_argument("--sizes", nargs="+", default=["96x160", "736x1280"], metavar="HxW")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    trained = load(args.run, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export(trained, Wish(file))
        run = run_onnx(file, threads=1)
        print("size       torch ms   onnxruntime ms   ratio   objects")
        for size in args.sizes:
            height, width = map(int, size.split("x"))
            print(measured(trained, run, picture(trained, (height, width)), args.rounds), flush=True)


def picture(trained: Network, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W), the first image of the run's test data at a size, or a drawn one."""
    records = [record for name in trained.cfg.DATASETS.TEST for record in read(name)[0] or []]
    channels = len(trained.cfg.MODEL.PIXEL_MEAN)
    if not records:
        return drawn_pictures((channels, *size), 1)[0]
    image = MultiTaskMapper(trained.cfg, is_train=False)(records[0])["image"].float()
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0].numpy()


def measured(trained: Network, run: Callable, image: np.ndarray, rounds: int) -> str:
    """A line of the table, once both have predicted the same."""
    size = (image.shape[1], image.shape[2])
    sample = {"image": torch.from_numpy(image), "height": size[0], "width": size[1]}
    wanted = expected(ExportedNetwork(trained.model), image, size)
    wrong = list(differences(run(image, size), wanted))
    if wrong:
        sys.exit(f"error: at {size[0]} x {size[1]} they differ: {'; '.join(wrong)}")
    runs = {"torch": lambda: trained.model([sample]), "onnxruntime": lambda: run(image, size)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    count = BATCH[size[0] * size[1] < SMALL]
    with evaluating(trained.model):
        for _ in range(rounds):
            for name, predict in runs.items():
                start = time.process_time()
                for _ in range(count):
                    predict()
                times[name].append(1000 * (time.process_time() - start) / count)
    of_torch, of_onnx = (statistics.median(times[name]) for name in runs)
    objects = sum(len(values) for name, values in wanted.items() if name.endswith("/boxes"))
    return f"{size[0]}x{size[1]:<6} {of_torch:8.1f} {of_onnx:16.1f} {of_onnx / of_torch:7.2f} {objects:9}"


if __name__ == "__main__":
    main()
