#!/usr/bin/env python3
"""Measures what a training sample costs a worker, of detectron2's mapper and of ours by each image library.

tools/benchmark_mapper.py [--images FOLDER] [--size WxH] [--rounds R] [--objects N]

Samples are made of JPEGs, of FOLDER or made up, with boxes, a label map and a depth map that are made up, resized to a
shorter side of 640 pixels and flipped. Each mapper runs in a process of its own, as a loader's worker does, on one
thread. They take turns; figures are medians over the rounds. See docs/loader.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from PIL import Image

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, MultiTaskMapper
from mtl_d2.data.image_library import LIBRARIES
from mtl_d2.data.worker_memory import keep_freed_memory, spare_what_stands

SIDE = 640  # pixels of the shorter side of a sample
IMAGES = 10  # that are made up
CLASSES = 19
QUALITY = 78  # of made up JPEGs, which are then about as large as BDD100K's, 65 KB
PASSES = 2  # over the images in a turn
WARM_UP = 1  # rounds that do not count
DETECTRON2 = "detectron2"
KEYS = {"detection": "annotations", "semantic": "sem_seg_file_name", "depth": "depth_file_name"}
TASKS = (("detection",), ("detection", "semantic"), ("detection", "semantic", "depth"))
Records = list[dict[str, Any]]


class DepthMapper(DatasetMapper):
    """detectron2's, with a depth map beside it as projects add one: by Pillow, and moved as a label map."""

    def _transform_annotations(self, dataset_dict: Any, transforms: Any, image_shape: Any) -> None:
        if "depth_file_name" in dataset_dict:
            with Image.open(dataset_dict.pop("depth_file_name")) as image:
                depth = np.asarray(image).astype(np.float32) / 256
            dataset_dict["depth"] = torch.as_tensor(np.ascontiguousarray(transforms.apply_segmentation(depth)))
        super()._transform_annotations(dataset_dict, transforms, image_shape)


def made_up_image(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8: soft colours, sharp boxes, and a little noise."""
    soft = cv2.resize(generator.integers(40, 216, (9, 16, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y = int(generator.integers(width)), int(generator.integers(height))
        colour = [int(level) for level in generator.integers(0, 256, 3)]
        w, h = (int(side) for side in generator.integers(8, max(9, height // 4), 2))
        cv2.rectangle(soft, (x, y), (x + w, y + h), colour, cv2.FILLED)
    return np.clip(soft + generator.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)


def labelled(images: Sequence[Path], folder: Path, objects: int) -> Records:
    """Records of images, with ``objects`` boxes and maps that are made up in ``folder``."""
    generator = np.random.default_rng(1)
    records = []
    for path in images:
        with Image.open(path) as image:
            width, height = image.size
        ids = generator.integers(0, CLASSES, (height // 40, width // 40), np.uint8).repeat(40, 0).repeat(40, 1)
        ids = np.pad(ids, ((0, height - len(ids)), (0, width - ids.shape[1])), constant_values=255)
        Image.fromarray(ids).save(folder / f"{path.stem}_ids.png")
        far = np.linspace(80, 2, height)[:, None] + generator.uniform(0, 0.05, (height, width))
        Image.fromarray((far * 256).astype(np.uint16)).save(folder / f"{path.stem}_depth.png")
        corners = generator.uniform(0, (width / 2, height / 2), (objects, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(8, height / 2, (objects, 2))], 1).tolist()
        records.append(
            {
                "file_name": str(path),
                "height": height,
                "width": width,
                "annotations": [{"bbox": b, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for b in boxes],
                "sem_seg_file_name": str(folder / f"{path.stem}_ids.png"),
                "depth_file_name": str(folder / f"{path.stem}_depth.png"),
                "depth_encoding": "kitti",
            }
        )
    return records


def config(tasks: Sequence[str], library: str | None = None) -> Any:
    """Of the tasks; ``library`` reads the images."""
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = list(tasks)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = CLASSES
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.SEED = (SIDE,), 4 * SIDE, 0
    if library is not None:
        cfg.INPUT.IMAGE_LIBRARY_TRAIN = library
    return cfg


def mapper(name: str, tasks: Sequence[str]) -> Callable[[dict[str, Any], int], Any]:
    """A mapper of (record, position): detectron2's, or ours by the library ``name``."""
    if name != DETECTRON2:
        return MultiTaskMapper(config(tasks, name), True)
    theirs = DepthMapper(config(tasks), True)
    return lambda record, position: theirs(record)


def work(pipe: Any, name: str, records: Records) -> None:
    """A worker: for each list of tasks that ``pipe`` gives, CPU milliseconds a sample; until it gives none."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if name != DETECTRON2:
        keep_freed_memory()
        spare_what_stands()
    position = 0
    while tasks := pipe.recv():
        given = [{k: v for k, v in record.items() if k not in _unused(tasks)} for record in records]
        sample = mapper(name, tasks)
        for passed in range(1 + PASSES):
            if passed == 1:  # the first has the processor's caches forget the other workers
                start = time.process_time()
            for record in given:
                sample(record, position)
                position += 1
        pipe.send(1000 * (time.process_time() - start) / (PASSES * len(given)))


def _unused(tasks: Sequence[str]) -> set[str]:
    return {key for task, key in KEYS.items() if task not in tasks}


def measure(records: Records, rounds: int) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """CPU milliseconds a sample in each round, by tasks and mapper."""
    names = (DETECTRON2, *reversed(LIBRARIES))
    spawn = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name in names:
        pipes[name], end = spawn.Pipe()
        workers.append(spawn.Process(target=work, args=(end, name, records)))
        workers[-1].start()
    figures: dict[tuple[str, ...], dict[str, list[float]]] = {tasks: {name: [] for name in names} for tasks in TASKS}
    for round_number in range(WARM_UP + rounds):
        for tasks in TASKS:
            for name in names[:: 1 if round_number % 2 else -1]:
                pipes[name].send(tasks)
                milliseconds = pipes[name].recv()
                if round_number >= WARM_UP:
                    figures[tasks][name].append(milliseconds)
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return figures


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="of .jpg files, with subfolders (default: made up)"
    )
    parser.add_argument("--size", default="1280x720", metavar="WxH", help="of made up images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, metavar="R", help="(default: %(default)s)")
    parser.add_argument("--objects", type=int, default=18, metavar="N", help="of an image (default: %(default)s)")
    args = parser.parse_args(arguments)
    sides = args.size.split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) >= 80 for side in sides):
        parser.error(f"--size must be WIDTHxHEIGHT, 80 or more each, got {args.size!r}")
    if args.rounds < 1 or args.objects < 0:
        parser.error("--rounds must be at least 1, --objects at least 0")
    if args.images is not None and not any(args.images.rglob("*.jpg")):
        parser.error(f"--images must hold .jpg files, but {args.images} has none")
    return args


def main(arguments: Sequence[str] | None = None) -> dict[tuple[str, ...], dict[str, float]]:
    """Measures, prints the table and gives the ratios of samples a second to detectron2's."""
    args = parse(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = sorted(args.images.rglob("*.jpg")) if args.images else []
        generator = np.random.default_rng(0)
        for i in range(0 if images else IMAGES):
            images.append(folder / f"{i}.jpg")
            pixels = made_up_image(generator, *map(int, args.size.split("x")))
            Image.fromarray(pixels).save(images[-1], quality=QUALITY)
        size = statistics.fmean(path.stat().st_size for path in images) / 1024
        figures = measure(labelled(images, folder, args.objects), args.rounds)
    print(f"{len(images)} images of {size:.0f} KB, {args.objects} boxes each\n")
    print("| tasks | mapper | CPU ms a sample | samples/s to detectron2's |\n| --- | --- | ---: | ---: |")
    ratios: dict[tuple[str, ...], dict[str, float]] = {}
    for tasks, by_name in figures.items():
        theirs = by_name[DETECTRON2]
        ratios[tasks] = {
            name: statistics.median(a / b for a, b in zip(theirs, own, strict=True)) for name, own in by_name.items()
        }
        for name, own in by_name.items():
            print(f"| {', '.join(tasks)} | {name} | {statistics.median(own):.1f} | {ratios[tasks][name]:.2f} |")
    return ratios


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"error: {error}")
