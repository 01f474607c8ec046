#!/usr/bin/env python3
"""Measures a training's start up to its loader, on a made-up data set of COCO's size: CPU time, time and memory.

tools/benchmark_start.py [--share 0.1] [--folder FOLDER] [--processes 4] [--rounds 3]

`detectron2` is its own loading, filtering and serialising. `uncached`, `first` and `later` are `check_data` and
`build_train_loader`, without MTL.DATA.CACHE, with an empty one, and with that of a start before; the last row is the
first start of several processes at once. Each is a fresh process and takes turns with the others; figures are medians
over the rounds, without imports; memory is the peak of all processes together, shared pages counted once, less what
they had after their imports. Then a worker process goes through 20,000 samples. See docs/datasets.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGES, ANNOTATIONS = 118_287, 860_001  # COCO train2017's
SIZES = ((640, 480), (480, 640), (640, 427))
NAME = "made_up_coco"
ROWS = ("detectron2", "uncached", "first", "later")
SAMPLES = 20_000
LINKS = 30_000  # of one file, at most


def make(folder: Path, share: float) -> None:
    """Writes ``instances.json`` and ``images/``, unless they are there."""
    if (folder / "instances.json").is_file():
        return
    rng, (images, annotations) = np.random.default_rng(0), (round(share * IMAGES), round(share * ANNOTATIONS))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    listed = []
    for i in range(images):
        (width, height), name = SIZES[i % len(SIZES)], f"{i:012d}.jpg"
        listed.append({"id": i + 1, "file_name": name, "width": width, "height": height, "license": 3})
        original = folder / f"{i % len(SIZES)}-{i // LINKS}.jpg"
        if not original.is_file():
            Image.new("RGB", (width, height)).save(original)
        os.link(original, folder / "images" / name)
    objects = [_object(k, listed[int(rng.integers(images))], rng) for k in range(annotations)]
    categories = [{"id": i + 1, "name": f"class {i}"} for i in range(80)]
    content = {"images": listed, "annotations": objects, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))


def _object(k: int, image: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """An ellipse of 8 to 37 points."""
    width, height = rng.uniform(5, image["width"] / 2), rng.uniform(5, image["height"] / 2)
    x, y = rng.uniform(0, image["width"] - width), rng.uniform(0, image["height"] - height)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(8, 38))))
    points = np.stack([x + width * (1 + np.cos(angles)) / 2, y + height * (1 + np.sin(angles)) / 2], 1)
    return {
        "id": k + 1, "image_id": image["id"], "category_id": int(rng.integers(80)) + 1, "iscrowd": 0,
        "bbox": [round(v, 2) for v in (x, y, width, height)], "area": round(width * height, 3),
        "segmentation": [points.round(2).ravel().tolist()],
    }  # fmt: skip


def start(row: str, folder: Path, output: str) -> dict[str, float]:
    """One process: CPU seconds, seconds, and MB after the imports."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetFromList, get_detection_dataset_dicts
    from detectron2.data.datasets import register_coco_instances

    import mtl_d2.modeling  # noqa: F401
    from mtl_d2.config import add_mtl_config
    from mtl_d2.data import build_train_loader, check_data

    register_coco_instances(NAME, {}, str(folder / "instances.json"), str(folder / "images"))
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.SEED, cfg.OUTPUT_DIR = (NAME,), (), 1, output
    cfg.MTL.TASKS, cfg.MODEL.META_ARCHITECTURE = ("detection", "instance"), "MultiTaskRCNN"
    cfg.MTL.DATA.CACHE = "" if row == "uncached" else "records"
    imported = memory(os.getpid())
    cpu, begin = time.process_time(), time.perf_counter()
    if row == "detectron2":
        DatasetFromList(get_detection_dataset_dicts((NAME,)), copy=False)
    else:
        check_data(cfg)
        loader: Any = build_train_loader(cfg)
    result = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - begin, "imported": imported}
    if row == "worker":
        result |= growth(loader.dataset._records)
    return result


def growth(records: Any) -> dict[str, float]:
    """MB that are a process's own before and after it has had ``SAMPLES`` records, the first 1000 of them aside."""
    order = np.random.default_rng(0).integers(len(records), size=SAMPLES + 1000).tolist()
    for i in order[:1000]:
        _ = records[i]
    before = memory(os.getpid(), "Private_Dirty")
    for i in order[1000:]:
        _ = records[i]
    return {"before": before, "after": memory(os.getpid(), "Private_Dirty")}


def memory(process: int, of: str = "Pss") -> float:
    """MB of a process, of which ``Pss`` counts pages that others share in parts; 0 once it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{of}:")) / 1024
    return 0.0


def run(row: str, folder: Path, output: str, processes: int = 1) -> dict[str, float]:
    """Fresh processes at once: CPU seconds of all, seconds of the slowest, peak MB of all beyond their imports."""
    command = [sys.executable, __file__, "--folder", str(folder), "--row", row, "--output", output]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(processes)]
    peak = 0.0
    while any(process.poll() is None for process in started):
        peak = max(peak, sum(memory(process.pid) for process in started))
        time.sleep(0.1)
    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    summed = {key: sum(result[key] for result in results) for key in results[0]}
    return {**summed, "seconds": max(result["seconds"] for result in results), "peak": peak - summed["imported"]}


def measure(folder: Path, processes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by row."""
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as output:
            for row in ROWS:
                figures.setdefault(row, []).append(run(row, folder, output))
            shutil.rmtree(Path(output, "records"))
            figures.setdefault(f"first, {processes} processes", []).append(run("first", folder, output, processes))
    return {
        row: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for row, results in figures.items()
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of COCO's size (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="to keep the data set in (default: a temporary one)")
    parser.add_argument("--processes", type=int, default=4, help="of the last row (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--output", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if not 0 < args.share <= 1 or min(args.processes, args.rounds) < 1:
        parser.error("--share must be in (0, 1], --processes and --rounds at least 1")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    args = parse(arguments)
    if args.row:
        print(json.dumps(start(args.row, args.folder, args.output)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        make(folder, args.share)
        print("| start | CPU s | s | MB |\n| --- | ---: | ---: | ---: |")
        for row, result in measure(folder, args.processes, args.rounds).items():
            print(f"| {row} | {result['cpu']:.2f} | {result['seconds']:.2f} | {result['peak']:.0f} |")
        worker = run("worker", folder, f"{temporary}/worker")
        print(f"\na worker's own memory over {SAMPLES} samples: {worker['before']:.1f} to {worker['after']:.1f} MB")


if __name__ == "__main__":
    main()
