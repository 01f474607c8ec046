#!/usr/bin/env python3
"""Measures what images that are annotated for some classes add to an update: operations, and time side by side.

tools/benchmark_partial_classes.py [--model r50|small|rcnn-r50|...] [--device cpu|cuda] [--rounds R] [--tasks T]

One model makes updates in turn on a batch that is annotated for all classes and on the same batch annotated for all but
three, which one class of pixels may hide. Operators are torch's, forward and backward, as it dispatches
them; the ratio is the median over the rounds of the one's time by the other's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from benchmark_models import MODELS, Setting
from benchmark_variants import VARIANTS, Bench, make_update
from torch.utils._python_dispatch import TorchDispatchMode

WARM_UP = 2  # rounds that do not count
HIDDEN = 3  # classes, as vehicles are in the data set of people


class OperatorCounter(TorchDispatchMode):
    """Counts operators, and the elements that they write."""

    def __init__(self) -> None:
        """Starts at 0."""
        super().__init__()
        self.operators = self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operator and counts it."""
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        self.elements += result.numel() if isinstance(result, torch.Tensor) and not func.is_view else 0
        return result


def annotated_for_some(samples: list[dict], classes: dict[str, int]) -> list[dict]:
    """``samples`` without the objects of the last ``HIDDEN`` classes, which they are not annotated for.

    Args:
        samples: annotated for all.
        classes: how many there are, by the key of a sample that says which are annotated.
    """
    known = {key: torch.arange(number) < number - HIDDEN for key, number in classes.items()}
    some = []
    for sample in samples:
        changed = {**sample, **known, "other_class": 0}
        if "instances" in sample:
            objects = sample["instances"]
            changed["instances"] = objects[known["annotated_classes"][objects.gt_classes]]
        some.append(changed)
    return some


def main() -> None:
    """Prints a line for each batch, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, help="of the model, the first ones; by default all")
    arguments = parser.parse_args()
    model = MODELS[arguments.model]
    tasks = arguments.tasks or len(model.tasks)
    bench = Bench(Setting(arguments.model, model.size, model.batch, tasks, arguments.device))
    cfg_classes = {
        "annotated_classes": getattr(bench.model, "num_classes", None) or bench.model.roi_heads.num_classes,
        "annotated_stuff_classes": 19,
    }
    some = annotated_for_some(bench.batches[False], cfg_classes)
    # The same objects in both: what is measured is not what fewer of them save.
    whole = [{key: value for key, value in one.items() if key not in {*cfg_classes, "other_class"}} for one in some]
    trainers = {}
    for name, batch in {"all": whole, "some": some}.items():
        bench.batches[False] = batch
        trainers[name] = bench.trainer(VARIANTS["joint"])
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for round_number in range(WARM_UP + arguments.rounds):
        for name in trainers if round_number % 2 else reversed(trainers):
            clock = time.perf_counter if arguments.device == "cuda" else time.process_time
            start = clock()
            make_update(trainers[name])
            if round_number >= WARM_UP:
                seconds[name].append(clock() - start)
    for name, trainer in trainers.items():
        with OperatorCounter() as counter:
            make_update(trainer)
        time_of = statistics.median(seconds[name])
        print(f"{name:5} {counter.operators:7d} operators, {counter.elements / 1e6:8.1f} M elements, {time_of:.4f} s")
    ratio = statistics.median(b / a for a, b in zip(seconds["all"], seconds["some"], strict=True))
    print(f"some / all: {ratio:.4f}")


if __name__ == "__main__":
    main()
