"""Metrics that a config names, which the evaluation has to give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mtl_d2.config import methods_that_evaluate
from mtl_d2.evaluation.criteria import read_criteria, selects_on_held_out
from mtl_d2.evaluation.results import Results
from mtl_d2.evaluation.variants import AVERAGED, as_plain, variant_of
from mtl_d2.results_file import metric_names

HELD_OUT = "the images held out"


def missing_in_tests(cfg: Any, results: Results) -> Iterator[str]:
    """What the config wants of the test sets and they do not give.

    Args:
        cfg: ``MTL.SELECT_BY`` and ``TEST.EXPECTED_RESULTS``.
        results: a perfect model's on ``DATASETS.TEST``.
    """
    if not selects_on_held_out(cfg):
        yield from _missing_for_choice(cfg, results, "DATASETS.TEST")
    for expected in cfg.TEST.EXPECTED_RESULTS:
        if not _is_expectation(expected):
            yield (
                "TEST.EXPECTED_RESULTS must be lists of group, metric, value and tolerance, such as "
                f"['bbox', 'AP', 38.5, 0.2], got {expected!r}"
            )
            continue
        metric = "/".join(expected[:2])
        averaged = variant_of(metric) == AVERAGED and cfg.MTL.EMA.DECAY
        yield from _missing("TEST.EXPECTED_RESULTS", as_plain(metric) if averaged else metric, results, "DATASETS.TEST")


def _is_expectation(expected: Any) -> bool:
    kinds = (str, str, int | float, int | float)
    return (
        isinstance(expected, list | tuple)
        and len(expected) == len(kinds)
        and all(isinstance(value, kind) for value, kind in zip(expected, kinds, strict=True))
    )


def missing_in_held_out(cfg: Any, results: Results) -> Iterator[str]:
    """What the weighting, or the choice of the best model, wants of the held-out images and they do not give.

    Args:
        cfg: ``MTL.SCALARIZATION``, ``MTL.SELECT_BY``.
        results: a perfect model's on the held-out part of ``DATASETS.TRAIN``.
    """
    if selects_on_held_out(cfg):
        yield from _missing_for_choice(cfg, results, HELD_OUT)
    for key, node, name in methods_that_evaluate(cfg):
        path = f"{key.rpartition('.')[0]}.{name.upper()}.METRICS"
        for metric in node[name.upper()].get("METRICS", ()):
            yield from _missing(path, metric, results, HELD_OUT)


def _missing_for_choice(cfg: Any, results: Results, where: str) -> Iterator[str]:
    for metric in dict.fromkeys(as_plain(metric) for criterion in read_criteria(cfg) for metric in criterion.metrics):
        yield from _missing("MTL.SELECT_BY", metric, results, where)


def _missing(key: str, metric: str, results: Results, where: str) -> Iterator[str]:
    group, _, name = metric.partition("/")
    there = ", ".join(m for m in metric_names(results) if not math.isnan(_value(results, m)))
    if name not in results.get(group, {}):
        yield f"{key}: {metric!r} is no metric of {where}; there are {there}"
    elif math.isnan(_value(results, metric)):
        yield f"{key}: {metric!r} is not defined on {where}, which show nothing of it; there are {there}"


def _value(results: Results, metric: str) -> float:
    group, _, name = metric.partition("/")
    return results[group][name]
