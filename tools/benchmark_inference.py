#!/usr/bin/env python3
"""Measures what a prediction costs beside detectron2's networks over the same modules, and beside one network a task.

tools/benchmark_inference.py [--model r50|r18|small|rcnn-r50|rcnn-small] [--size H W] [--stored H W] [--rounds R]
                             [--further depth normals] [--device cpu|cuda] [--measure networks|parts|memory ...]
                             [--json FILE]

Variants predict the same image in turn, round after round; a ratio is the median over the rounds of a variant's time
by its reference's in the same round: CPU time of one thread, or the clock's where a GPU computes. Weights are drawn;
thresholds of scores are such that there are as many candidates for an object as in a street scene. "memory" is the most
that each way to the classes of the pixels holds at one time. See docs/inference.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads both once
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from benchmark import high_water_mark
from benchmark_inference_networks import DETECTION, INSTANCE, SEMANTIC, build, detectron2_networks, set_thresholds
from benchmark_models import MODELS
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from torch import Tensor

from mtl_d2.modeling.heads.class_ids import class_ids, ids_of_map
from mtl_d2.modeling.wanted import CLASSES_AT, Wanted, predicting

NAMES = ("r50", "r18", "small", "rcnn-r50", "rcnn-small")
Call = Callable[[], Any]


@dataclass(frozen=True)
class Way:
    """A way to predictions; ``reference`` is the name of the one that its time is divided by."""

    call: Call
    reference: str = ""


def ways(model: Any, samples: list[dict]) -> dict[str, Way]:
    """All that is measured, by name."""
    tasks = tuple(task.name for task in model.tasks)
    objects = frozenset(tasks) & {DETECTION, INSTANCE}
    theirs = {name: partial(network, samples) for name, network in detectron2_networks(model).items()}
    alone = [objects, *(frozenset({task}) for task in tasks if task not in objects)]

    def ask(*of_each: frozenset[str], class_ids: frozenset[str] = frozenset(), at: str = "image") -> Call:
        def call() -> None:
            for wanted in of_each:
                with predicting(model, Wanted(wanted, class_ids, at)):
                    model(samples)

        return call

    everything, pixels = frozenset(tasks), frozenset({SEMANTIC})
    largest = "Mask R-CNN" if INSTANCE in tasks else "FCOS"
    all_of_them = "PanopticFPN, not combined" if set(tasks) == {DETECTION, INSTANCE, SEMANTIC} else ""
    found = {
        "mtl_d2, all tasks": Way(partial(model, samples), all_of_them),
        f"mtl_d2, {' and '.join(sorted(objects))}": Way(ask(objects), largest),
        "mtl_d2, semantic": Way(ask(pixels), "SemanticSegmentor"),
        "mtl_d2, all tasks, classes of pixels": Way(ask(everything, class_ids=pixels), "mtl_d2, all tasks, argmax"),
        "mtl_d2, all tasks, classes at the map": Way(
            ask(everything, class_ids=pixels, at="map"), "mtl_d2, all tasks, argmax"
        ),
        "mtl_d2, all tasks, argmax": Way(lambda: model(samples)[0]["sem_seg"].max(dim=0).indices),
        f"{len(alone)} networks, one after the other": Way(ask(*alone), "mtl_d2, all tasks"),
        "torch.inference_mode": Way(torch.inference_mode()(partial(model, samples)), "mtl_d2, all tasks"),
    }
    if INSTANCE in tasks:
        found["mtl_d2, detection alone"] = Way(ask(frozenset({DETECTION})), "mtl_d2, detection and instance")
    return found | {f"{name}": Way(call) for name, call in theirs.items()}


def parts(model: Any, samples: list[dict]) -> dict[str, Way]:
    """The parts of a prediction: the trunk, what each head predicts, and what of that is not its layers."""
    images = model.preprocess_image(samples)
    features = model.shared_features(images.tensor)
    sizes = [(sample["height"], sample["width"]) for sample in samples]
    found = {"trunk": Way(lambda: model.shared_features(model.preprocess_image(samples).tensor))}
    for head in (head for head in model.task_heads.values() if head.output_key is not None):
        name = head.task.name
        found[f"{name}: prediction"] = Way(partial(head.predict, features, images, sizes))
        if name == SEMANTIC:
            found[f"{name}: layers alone"] = Way(partial(head.outputs, features))
            found |= pixels(head, features, images.image_sizes[0], sizes[0])
        elif isinstance(model, FCOS):
            found[f"{name}: layers alone"] = Way(partial(head.outputs, features))
            found[f"{name}: boxes of their maps"] = Way(boxes(model, features, images, sizes[0]))
    return found


def pixels(head: Any, features: Mapping[str, Tensor], seen: Any, size: tuple[int, int]) -> dict[str, Way]:
    """What comes after the layers of a semantic head, whose image is ``seen`` large and stored as ``size``."""
    (maps,) = head.outputs(features)
    enlarge, stride = head.layers.enlarged, head.layers.common_stride

    def resize() -> Tensor:
        return sem_seg_postprocess(enlarge(maps)[0], seen, *size)

    scores = resize()
    return {
        "semantic: scores resized": Way(resize),
        "semantic: argmax of them": Way(partial(torch.max, scores, 0)),
        "semantic: both": Way(lambda: resize().max(dim=0).indices),
        "semantic: classes at the image": Way(
            partial(class_ids, maps[0], enlarge, tuple(seen), size), "semantic: both"
        ),
        "semantic: classes at the map": Way(partial(ids_of_map, maps[0], stride, tuple(seen), size), "semantic: both"),
    }


def boxes(model: FCOS, features: Mapping[str, Tensor], images: Any, size: tuple[int, int]) -> Call:
    """A call of what comes after the layers, whose maps it changes."""
    levels = [features[level] for level in model.head_in_features]
    maps = model.head(levels)

    def call() -> None:
        copies = [[level.clone() for level in of_kind] for of_kind in maps]
        detector_postprocess(model.forward_inference(images, levels, copies)[0], *size)

    return call


def measure(ways: Mapping[str, Way], rounds: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Median milliseconds of each, and the median ratio to its reference."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(1 + rounds):  # the first does not count
        for name in list(ways)[:: 1 if round_number % 2 else -1]:
            start = clock()
            ways[name].call()
            if round_number:
                seconds[name].append(clock() - start)
    found = {name: {"ms": 1000 * statistics.median(own)} for name, own in seconds.items()}
    for name, way in ways.items():
        if way.reference:
            pairs = zip(seconds[name], seconds[way.reference], strict=True)
            found[name]["ratio"] = statistics.median(a / b for a, b in pairs)
    return found


def clock_of(device: str) -> Callable[[], float]:
    """CPU time of this process; the clock once a GPU has done its work."""
    if device == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


MEASURES = ("networks", "parts", "memory")
PROBES = ("scores", "argmax", *CLASSES_AT)


def probe(model: Any, samples: list[dict], what: str) -> float:
    """Peak MiB of a semantic prediction, above what model and features hold."""
    images = model.preprocess_image(samples)
    features = model.shared_features(images.tensor)
    sizes = [(sample["height"], sample["width"]) for sample in samples]
    head = model.task_heads[SEMANTIC]
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is resident now
        before = high_water_mark()
    if what in PROBES[:2]:
        (found,) = head.predict(features, images, sizes)
        found = found.max(dim=0).indices if what == "argmax" else found
    else:
        (found,) = head.predict_ids(features, images, sizes, what)
    return ((torch.cuda.max_memory_allocated() if cuda else high_water_mark()) - before) / 2**20


def measure_memory(arguments: Sequence[str]) -> dict[str, float]:
    """Peak MiB of each way to classes of pixels, each in a process of its own."""
    # glibc keeps freed blocks; with a fixed threshold a large one goes back when it is freed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    found = {}
    for what in PROBES:
        command = [sys.executable, __file__, *arguments, "--probe", what]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[what] = float(done.stdout.splitlines()[-1])
    return found


def show(found: Mapping[str, Mapping[str, float]], ways: Mapping[str, Way]) -> None:
    """Prints a Markdown table."""
    print("| | ms | ratio | to |\n|---|---|---|---|")
    for name, own in found.items():
        ratio = f"{own['ratio']:.3f} | {ways[name].reference}" if "ratio" in own else "|"
        print(f"| {name} | {own['ms']:.1f} | {ratio} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=NAMES, default="r50")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the image, as the network sees it")
    parser.add_argument("--stored", type=int, nargs=2, metavar=("H", "W"), help="of predictions (default: --size)")
    parser.add_argument("--classes", type=int, default=19, help="of pixels (default: %(default)s)")
    parser.add_argument("--further", nargs="+", choices=("depth", "normals"), default=(), help="tasks of the network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=MEASURES[:2], metavar="WHAT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.add_argument("--probe", choices=PROBES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    args = parse(arguments)
    size = tuple(args.size or MODELS[args.model].size)
    stored = tuple(args.stored or size)
    if args.measure == ["memory"] and not args.probe:
        model, samples = None, []
    else:
        model = build(args.model, args.device, args.classes, args.further)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        samples = [{"image": image, "height": stored[0], "width": stored[1]}]
    if args.probe:
        print(probe(model, samples, args.probe))
        return
    figures: dict[str, Any] = {}
    if model is not None:
        set_thresholds(model, samples)
    for what, list_ways in (("networks", ways), ("parts", parts)):
        if what in args.measure:
            measured = list_ways(model, samples)
            figures[what] = measure(measured, args.rounds, clock_of(args.device))
            show(figures[what], measured)
    if "memory" in args.measure:
        given = ["--model", args.model, "--device", args.device, "--classes", str(args.classes)]
        given += ["--size", *map(str, size), "--stored", *map(str, stored)]
        figures["peak_mib"] = measure_memory(given)
        print(", ".join(f"{name} {mib:.0f} MiB" for name, mib in figures["peak_mib"].items()))
    if args.json:
        named = {"model": args.model, "size": size, "stored": stored, "device": args.device}
        args.json.write_text(json.dumps(named | figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
