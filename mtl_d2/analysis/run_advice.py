"""Sentences on a whole training: its last checkpoint, what changed until then, and images it has not seen."""

from __future__ import annotations

from collections.abc import Iterator

from mtl_d2.analysis.advice import ENOUGH, advice
from mtl_d2.analysis.bootstrap import Estimate
from mtl_d2.analysis.result import ALL
from mtl_d2.analysis.run import Moment, RunAnalysis


def run_advice(known: RunAnalysis) -> list[str]:
    """Sentences; the first ones are ``advice`` on the last checkpoint, on training images where there are any.

    Changes are told where the intervals of a cosine over all shared parameters have nothing in common.
    """
    first_split = known.moments[0].split
    moments = known.of(first_split)
    last = moments[-1]
    sentences = advice(last.analysis)
    if len(moments) > 1:
        for a, b, before, after in _differences(moments[0], last):
            sentences.append(
                f"The cosine of {a} and {b} over all shared parameters {'rose' if after > before else 'fell'} from "
                f"{before:.2f} ({when(moments[0])}) to {after:.2f} ({when(last)})."
            )
    others = [m for m in known.moments if m.split != first_split and m.checkpoint == last.checkpoint]
    for other in others:
        for a, b, here, there in _differences(last, other):
            sentences.append(
                f"The cosine of {a} and {b} over all shared parameters is {here:.2f} on {last.split} images and "
                f"{there:.2f} on {other.split} images ({when(last)})."
            )
    return sentences


def when(moment: Moment) -> str:
    """The time of a moment, in words."""
    checkpoint = moment.checkpoint
    return checkpoint.path.name if checkpoint.updates is None else f"after {checkpoint.updates} updates"


def _differences(one: Moment, other: Moment) -> Iterator[tuple[str, str, float, float]]:
    for a, b in one.analysis.pairs:
        first, second = (_whole(moment, a, b) for moment in (one, other))
        if not first or not second or min(first.batches, second.batches) < ENOUGH:
            continue
        if first.high < second.low or second.high < first.low:
            yield a, b, first.mean, second.mean


def _whole(moment: Moment, a: str, b: str) -> Estimate | None:
    return moment.analysis.cosines.get((moment.analysis.at(ALL)[0], a, b))
