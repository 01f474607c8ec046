"""Evaluations of the same model in another way, whose groups of metrics stand beside the plain ones: ``bbox_EMA``."""

from __future__ import annotations

from typing import Any

AUGMENTED = "_TTA"  # with test-time augmentation; the suffix is that of detectron2's tools/train_net.py
AVERAGED = "_EMA"  # with averaged weights
SUFFIXES = (AUGMENTED, AVERAGED)


def variant_of(name: str) -> str:
    """The suffix of a metric ``group/name``, or of a group; empty if it is a plain one."""
    group = name.partition("/")[0].partition("@")[0]
    return next((suffix for suffix in SUFFIXES if group.endswith(suffix)), "")


def as_variant(name: str, suffix: str) -> str:
    """A plain metric, or group, with ``suffix``: ``bbox_EMA@own_val/AP`` for ``bbox@own_val/AP``."""
    group, slash, metric = name.partition("/")
    kind, at, dataset = group.partition("@")
    return f"{kind}{suffix}{at}{dataset}{slash}{metric}"


def as_plain(name: str) -> str:
    """The plain metric, or group, of one with a suffix."""
    suffix = variant_of(name)
    group, slash, metric = name.partition("/")
    kind, at, dataset = group.partition("@")
    return f"{kind.removesuffix(suffix)}{at}{dataset}{slash}{metric}"


def add_variant(results: Any, others: Any, suffix: str) -> None:
    """Adds the groups of another evaluation of the same sets to ``results``, in place, and what failed there.

    Args:
        results: an evaluation's, by group of metrics.
        others: the other's.
        suffix: what tells its groups from those of the first.
    """
    for group, metrics in others.items():
        results[as_variant(group, suffix)] = metrics
    if getattr(others, "failures", ()):
        results.failures = (*results.failures, *(f"{suffix[1:]}: {line}" for line in others.failures))
