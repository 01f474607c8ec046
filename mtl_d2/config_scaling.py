"""A config that is meant for one number of processes, for another: ``SOLVER.REFERENCE_WORLD_SIZE``.

detectron2's ``auto_scale_workers`` scales its own keys. What mtl_d2 adds follows here, so that an update of N times as
many samples is made of the same shares of the data sets, and everything that counts updates goes by the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from mtl_d2.balancing.counting import updates
from mtl_d2.config import COUNT_SAMPLES, COUNT_UPDATES, METHODS
from mtl_d2.options import Option, declared

# detectron2's own counts, which it rounds to 0 where there are many processes: no evaluations, or no training.
_AT_LEAST_ONE = ("SOLVER.MAX_ITER", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")


def follow_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """The config for so many processes: ``cfg`` itself where it does not ask for scaling, or cannot be scaled."""
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes) or scaling_mistakes(cfg, processes):
        return cfg
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes)
    frozen = scaled.is_frozen()
    scaled.defrost()
    factor = reference / processes
    for key in (*_AT_LEAST_ONE, *COUNT_UPDATES):
        _set(scaled, key, updates(_get(cfg, key), factor))
    # Rounding may put a step at the end of the training, where there is nothing left for it to do.
    scaled.SOLVER.STEPS = tuple(step for step in scaled.SOLVER.STEPS if step < scaled.SOLVER.MAX_ITER)
    for key in COUNT_SAMPLES:
        _set(scaled, key, tuple(n * processes // reference for n in _get(cfg, key)))
    for key, option in _options():
        if option.scales is not None:
            _set(scaled, key, option.scales(_get(scaled, key), factor))
    if frozen:
        scaled.freeze()
    return scaled


def _options() -> Iterator[tuple[str, Option]]:
    """Every declared option by its key in a config, the methods' included."""
    for choice, registry in METHODS:
        for name, method in registry:
            for key, option in method.options.items():
                yield f"MTL.{choice}.{name.upper()}.{key.upper()}", option
    for path, options in declared():
        for key, option in options.items():
            yield f"{path}.{key}", option


def scaled_counts(cfg: CfgNode) -> str:
    """What a config that follows the number of processes has become, in a sentence; empty if it does not."""
    if not cfg.SOLVER.REFERENCE_WORLD_SIZE:
        return ""
    keys = ("SOLVER.IMS_PER_BATCH", *COUNT_SAMPLES, "SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS")
    values = ", ".join(f"{key} {_get(cfg, key)}" for key in keys)
    return f"SOLVER.REFERENCE_WORLD_SIZE: for {cfg.SOLVER.REFERENCE_WORLD_SIZE} processes the config has {values}"


def scaling_mistakes(cfg: CfgNode, processes: int) -> list[str]:
    """One sentence for each reason why the config cannot be had for so many processes."""
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return []
    if reference < 0:
        return [
            "SOLVER.REFERENCE_WORLD_SIZE must be the number of processes that the config is meant for, or 0 to leave "
            f"it as it is, got {reference}"
        ]
    batch = cfg.SOLVER.IMS_PER_BATCH
    if batch % reference:
        return [
            f"SOLVER.REFERENCE_WORLD_SIZE must divide SOLVER.IMS_PER_BATCH {batch}, the images of all processes that "
            f"the config is meant for; got {reference}"
        ]
    counts = {key: tuple(_get(cfg, key)) for key in COUNT_SAMPLES}
    return [
        f"{key} {numbers} is meant for {reference} processes (SOLVER.REFERENCE_WORLD_SIZE) and cannot be had for "
        f"{processes}: {processes}/{reference} of each number must be whole. Write the numbers for {processes} into "
        "the config and set SOLVER.REFERENCE_WORLD_SIZE to 0"
        for key, numbers in counts.items()
        if any(n * processes % reference for n in numbers)
    ]


def _get(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node


def _set(cfg: CfgNode, key: str, value: Any) -> None:
    path, _, name = key.rpartition(".")
    _get(cfg, path)[name] = value
