#!/usr/bin/env python3
"""What an evaluation costs beside pycocotools and detectron2, on made-up predictions: CPU time, and equal numbers.

tools/benchmark_evaluation.py [--images N] [--detections D] [--maps M] [--frames F] [--rounds R] [--json FILE]

Variants take turns, round after round; a ratio is the median over the rounds. Cityscapes' scripts are measured in one
process and in two: CPU time of all processes, and wall time, which says something where two CPUs are free.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES
from mtl_d2.data.datasets.cityscapes import IMAGE, INSTANCE_IDS, LABEL_IDS, SEMANTIC_IDS, THINGS
from mtl_d2.evaluation.cityscapes import CityscapesEvaluator
from mtl_d2.evaluation.cityscapes_steps import PROCESSES
from mtl_d2.evaluation.coco_ap import evaluate_objects
from mtl_d2.evaluation.object_truth import coco_api
from mtl_d2.evaluation.semantic import semantic_evaluator

WIDTH, HEIGHT = 1280, 720
CLASSES, OBJECTS, STUFF = 10, 18, 19  # BDD100K's, and its objects in an image
NAME, CITYSCAPES = "benchmark_evaluation", "benchmark_cityscapes"
FRAME = (1024, 2048)  # height and width of Cityscapes' images
Objects = list[dict[str, Any]]


def random_box(rng: np.random.Generator) -> list[float]:
    """Left, top, width, height."""
    w, h = rng.uniform(8, 200, 2)
    return [float(v) for v in (rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h), w, h)]


def make_objects(rng: np.random.Generator, images: int, detections: int) -> tuple[COCO, Objects]:
    """A ground truth, and predictions of which half are near an object."""
    objects: Objects = []
    predictions: Objects = []
    for image in range(1, images + 1):
        own = [(random_box(rng), int(rng.integers(CLASSES)) + 1) for _ in range(OBJECTS)]
        for box, category in own:
            labels = {"id": len(objects) + 1, "image_id": image, "category_id": category, "iscrowd": 0}
            objects.append({**labels, "bbox": box, "area": box[2] * box[3]})
        for number in range(detections):
            box, category = own[number % OBJECTS] if number % 2 else (random_box(rng), int(rng.integers(CLASSES)) + 1)
            moved = [box[0] + float(rng.normal(0, 4)), box[1] + float(rng.normal(0, 4)), *box[2:]]
            score = float(rng.random())
            predictions.append({"image_id": image, "category_id": category, "bbox": moved, "score": score})
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(CLASSES)]
    listed = [{"id": i + 1, "width": WIDTH, "height": HEIGHT} for i in range(images)]
    return coco_api({"info": {}, "images": listed, "annotations": objects, "categories": categories}), predictions


def by_pycocotools(truth: COCO, predictions: Objects) -> np.ndarray:
    """Its twelve numbers."""
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, truth.loadRes([{**one} for one in predictions]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def make_maps(rng: np.random.Generator, folder: Path, images: int) -> list[dict[str, str]]:
    """Records of a registered data set: label maps of blocks of 16 pixels, a twentieth of them not labelled."""
    records = []
    for number in range(images):
        blocks = rng.integers(STUFF + 1, size=(HEIGHT // 16, WIDTH // 16))
        ids = np.where(blocks == STUFF, 255, blocks).repeat(16, 0).repeat(16, 1).astype(np.uint8)
        Image.fromarray(ids).save(folder / f"{number}.png")
        records.append({"file_name": str(folder / f"{number}.jpg"), "sem_seg_file_name": str(folder / f"{number}.png")})
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(stuff_classes=[f"class {k}" for k in range(STUFF)], ignore_label=255)
    return records


def alternate(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Median seconds of CPU time of each, the median ratio of the first to the second, and whether results agree."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, make in ways.items():
            start = time.process_time()
            results[name] = make()
            seconds[name].append(time.process_time() - start)
    ours, theirs = ways
    ratio = statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))
    difference = float(np.abs(np.subtract(results[ours], results[theirs])).max())
    return {name: statistics.median(own) for name, own in seconds.items()} | {"ratio": ratio, "difference": difference}


def semantic(make: Callable[[], Any], records: Sequence[dict[str, str]], scores: torch.Tensor) -> np.ndarray:
    """IoU of the classes."""
    evaluator = make()
    evaluator.reset()
    for record in records:
        evaluator.process([record], [{"sem_seg": scores}])
    found = evaluator.evaluate()["sem_seg"]
    return np.array([found[f"IoU-class {k}"] for k in range(STUFF)])


def make_frames(rng: np.random.Generator, folder: Path, frames: int) -> tuple[list[dict[str, str]], list[Any]]:
    """Records and outputs: label files of Cityscapes' size with objects, and the same moved by some pixels."""
    MetadataCatalog.get(CITYSCAPES).set(gt_dir=str(folder), thing_classes=THINGS, stuff_classes=STUFF_CLASSES)
    (folder / "city").mkdir()
    records, outputs = [], []
    for number in range(frames):
        ids = np.full(FRAME, LABEL_IDS[0], np.uint16)
        classes = rng.integers(len(THINGS), size=OBJECTS)
        for i, kind in enumerate(classes):
            (y, x), (h, w) = rng.integers(0, (FRAME[0] - 60, FRAME[1] - 60)), rng.integers(20, 300, 2)
            ids[y : y + h, x : x + w] = 1000 * LABEL_IDS[len(LABEL_IDS) - len(THINGS) + kind] + i
        stem = folder / "city" / f"city_{number:06d}_000019"
        labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
        Image.fromarray(ids).save(f"{stem}{INSTANCE_IDS}")
        Image.fromarray(labels).save(f"{stem}{SEMANTIC_IDS}")
        records.append({"file_name": f"city/{stem.name}{IMAGE}"})
        found = Instances(FRAME, pred_boxes=Boxes(torch.zeros(OBJECTS, 4)), scores=torch.rand(OBJECTS))
        found.pred_classes = torch.from_numpy(classes)
        moved = [np.roll(ids % 1000 == i, rng.integers(-9, 10, 2), (0, 1)) & (ids >= 1000) for i in range(OBJECTS)]
        found.pred_masks = torch.from_numpy(np.stack(moved))
        semantic_ids = np.searchsorted(LABEL_IDS, np.roll(labels, 5, 1))
        outputs.append({"instances": found, "sem_seg": torch.from_numpy(semantic_ids)})
    return records, outputs


def cityscapes(task: str, records: list[dict[str, str]], outputs: list[Any], folder: Path, rounds: int) -> Any:
    """Median seconds of CPU and wall time of the scripts by one and by two processes, and whether results are equal."""
    figures: dict[str, list[float]] = {}
    results = {}
    for _ in range(rounds):
        for processes in (1, 2):
            os.environ[PROCESSES] = str(processes)
            evaluator = CityscapesEvaluator(CITYSCAPES, [task], folder)
            evaluator.reset()
            evaluator.process(records, outputs)
            start = seconds_used()
            results[processes] = evaluator.evaluate()
            for what, used in zip(("CPU", "wall"), np.subtract(seconds_used(), start), strict=True):
                figures.setdefault(f"{what} of {processes}", []).append(float(used))
    one, two = ([list(group.values()) for group in (found or {}).values()] for found in results.values())
    same = np.array_equal(one, two, equal_nan=True)
    return {what: statistics.median(seconds) for what, seconds in figures.items()} | {"equal": same}


def seconds_used() -> tuple[float, float]:
    """CPU time of this process and its children that have ended, and wall time."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used), time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="with objects (default: %(default)s)")
    parser.add_argument("--detections", type=int, default=100, help="in each of them (default: %(default)s)")
    parser.add_argument("--maps", type=int, default=20, help="images with a label map (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=6, help="of Cityscapes' size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    args = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    rng = np.random.default_rng(0)
    truth, predictions = make_objects(rng, args.images, args.detections)
    boxes = {
        "mtl_d2": lambda: evaluate_objects(truth, predictions, "bbox").stats[:12],
        "pycocotools": lambda: by_pycocotools(truth, predictions),
    }
    figures = {"boxes": alternate(boxes, args.rounds)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_maps(rng, folder, args.maps)
        scores = torch.randn(STUFF, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
        maps = {
            "mtl_d2": lambda: semantic(lambda: semantic_evaluator(NAME, folder), records, scores),
            "detectron2": lambda: semantic(lambda: SemSegEvaluator(NAME, False, str(folder)), records, scores),
        }
        figures["maps"] = alternate(maps, args.rounds)
        frames = make_frames(rng, folder, args.frames)
        for task in ("instance", "semantic") if args.frames else ():
            figures[f"cityscapes {task}"] = cityscapes(task, *frames, folder / "predictions", args.rounds)
    for what, found in figures.items():
        print(f"{what}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
