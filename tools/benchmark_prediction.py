#!/usr/bin/env python3
"""What drawing costs, and how near tools/predict.py comes to the bare network: the figures of docs/prediction.md.

tools/benchmark_prediction.py --run output/demo/mclgs --clip clip.mp4 [--frames N] [--rounds N]

Drawing is CPU time on one thread, over a frame of 1280x720 with 30 boxes with labels and a map of 19 classes. Frames
per second are those of the clock, of whole passes over the clip in turn: the network alone on samples that are there
before, and all of predict: decoding, resizing, network, classes of pixels, drawing and writing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from detectron2.data.catalog import Metadata

from mtl_d2.prediction.frames import Frame
from mtl_d2.prediction.layout import Artist
from mtl_d2.prediction.network import Network, load
from mtl_d2.prediction.output_folder import COCO, PICTURES, OutputFolder
from mtl_d2.prediction.pipeline import predict
from mtl_d2.prediction.results import Objects
from mtl_d2.prediction.video_input import Video
from mtl_d2.prediction.video_output import CODECS, VideoFile, can_write
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.palette import Palette
from mtl_d2.tasks.registry import kind_of

BOXES, CLASSES, WIDTH, HEIGHT = 30, 19, 1280, 720
REPEATS = 51


def drawing(frame: np.ndarray) -> tuple[float, float]:
    """Median and least CPU milliseconds of a frame, drawn with a new map, boxes and scores each time."""
    image = np.asarray(cv2.resize(frame, (WIDTH, HEIGHT)), np.uint8)
    names = [f"class {k}" for k in range(CLASSES)]
    metadata = Metadata(thing_classes=names, stuff_classes=names)
    palette, random, took = Palette([metadata]), np.random.default_rng(0), []
    for _ in range(REPEATS):
        coarse = random.integers(0, CLASSES, (HEIGHT // 40, WIDTH // 40)).astype(np.uint8)
        ids = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        corners = random.uniform(0, 1, (BOXES, 2)) * (WIDTH - 200, HEIGHT - 150)
        boxes = np.concatenate([corners, corners + random.uniform(20, 150, (BOXES, 2))], axis=1).astype(np.float32)
        scores = random.uniform(0.3, 1, BOXES).astype(np.float32)
        objects = Objects(boxes, scores, random.integers(0, CLASSES, BOXES), tuple(names))
        start = time.process_time()
        canvas = Canvas(image, palette)
        canvas.add_class_map(np.asarray(ids, np.uint8), metadata, kind_of("semantic"))
        canvas.add_objects(objects, metadata)
        canvas.tiles()
        took.append(1000 * (time.process_time() - start))
    return statistics.median(took), min(took)


def bare(network: Network, samples: list[dict]) -> None:
    """The network in a loop."""
    for sample in samples:
        network.outputs([sample])


def whole(network: Network, clip: str, frames: int, codec: str, workers: int) -> None:
    """All of predict; ``codec`` "" writes COCO's JSON and no video."""
    video = Video(clip)
    with tempfile.TemporaryDirectory() as folder:
        artist = Artist(network, network.tasks, moving=True)
        path = Path(folder, f"clip{CODECS[codec].suffix}") if codec else Path()
        written = VideoFile(path, codec, video.rate or 25.0) if codec else None
        formats = [COCO, PICTURES] if codec else [COCO]
        output = OutputFolder(Path(folder), artist, formats, {}, written)
        counts = predict(network, video, output, workers=workers, most=frames)
        assert counts.frames == frames, counts


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of a training")
    parser.add_argument("--clip", required=True, help="a video")
    parser.add_argument("--frames", type=int, default=221, help="of it (221)")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each variant, in turn (3)")
    parser.add_argument("--workers", type=int, default=2, help="as of tools/predict.py (2)")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    network = load(args.run)
    frames: list[Frame] = list(Video(args.clip))[: args.frames]
    images = [frame.read() for frame in frames]
    median, least = drawing(images[0])
    print(f"drawing {WIDTH}x{HEIGHT}, {BOXES} boxes, {CLASSES} classes: {median:.1f} ms CPU (least {least:.1f})")
    samples = [network.sample(image) for image in images]
    variants: dict[str, Callable[[], None]] = {"network alone": lambda: bare(network, samples)}
    for codec in ["", *(name for name in CODECS if can_write(name))]:
        variants[f"predict, {codec or 'no video'}"] = lambda codec=codec: whole(  # type: ignore[misc]
            network, args.clip, len(frames), codec, args.workers
        )
    bare(network, samples[:2])
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, run in variants.items():
            start = time.monotonic(), time.process_time()
            run()
            took[name].append((time.monotonic() - start[0], time.process_time() - start[1]))
    alone = statistics.median(wall for wall, _ in took["network alone"])
    print(f"{len(frames)} frames of {images[0].shape[1]}x{images[0].shape[0]}, medians of {args.rounds} rounds in turn")
    print(f"{'':22}{'frames/s':>9}{'ratio':>7}{'CPU ms a frame':>16}")
    for name, times in took.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:22}{len(frames) / wall:9.1f}{alone / wall:7.2f}{1000 * cpu / len(frames):16.1f}")


if __name__ == "__main__":
    main()
