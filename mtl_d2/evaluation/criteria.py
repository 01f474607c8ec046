"""What the best model of a run is chosen by: ``MTL.SELECT_BY``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mtl_d2.evaluation.delta import Metric, delta, direction
from mtl_d2.evaluation.reference import read_reference
from mtl_d2.evaluation.variants import AVERAGED, as_variant, variant_of

HELD_OUT, TEST = "validation", "test"  # what MTL.SELECT_ON may be
DELTA = "delta"
Results = Mapping[str, Mapping[str, Any]]

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"([+-]?)\s*(?:({_NUMBER})\s*\*\s*)?([^/\s]+/.*\S)", re.DOTALL)
# Names of classes, which metrics may end with, have commas and signs in them, too: a term begins with "group/".
_COMMA = re.compile(rf",\s*(?={DELTA}(?:{AVERAGED})?\s*(?:,|$)|[^,]*/|$)")
_SIGN = re.compile(rf"\s+([+-])\s+(?=(?:{_NUMBER}\s*\*\s*)?[^/\s]+/)")


class Criterion(Protocol):
    """A number that an evaluation gives.

    Attributes:
        text: as the config has it.
        metrics: ``group/name``, those that it is made of.
        higher: whether a higher number is better.
    """

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def metrics(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def higher(self) -> bool: ...  # noqa: D102

    def value(self, results: Results) -> float:
        """The number; NaN where a metric is missing."""


@dataclass(frozen=True)
class WeightedSum:
    """Metrics with their factors, as (factor, metric); a metric that stands alone is one with the factor 1."""

    text: str
    terms: tuple[tuple[float, str], ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of its terms."""
        return tuple(metric for _, metric in self.terms)

    @property
    def higher(self) -> bool:
        """Of a sum yes: errors are subtracted. A metric alone is chosen by its own direction."""
        return self.text != self.metrics[0] or direction(self.text) is not False

    def value(self, results: Results) -> float:
        """The sum."""
        return sum(factor * metric_value(results, metric) for factor, metric in self.terms)


@dataclass(frozen=True)
class RelativeGain:
    """The mean over tasks of their metrics' mean relative gain against a base, in percent: minus Delta of "mclgs".

    Attributes:
        suffix: of the groups that are compared.
        base: values of plain metrics.
        measures: those that count.
    """

    text: str
    suffix: str
    base: Mapping[str, float]
    measures: tuple[Metric, ...]
    higher: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the base, of the weights that are compared."""
        return tuple(as_variant(measure.name, self.suffix) for measure in self.measures)

    def value(self, results: Results) -> float:
        """The gain."""
        values = [metric_value(results, metric) for metric in self.metrics]
        names = [measure.name for measure in self.measures]
        return -delta("mclgs", dict(zip(names, values, strict=True)), self.base, self.measures)


def metric_value(results: Results, metric: str) -> float:
    """The value of ``group/name``; NaN if there is none."""
    group, _, name = metric.partition("/")
    return float(results[group].get(name, math.nan)) if group in results else math.nan


def is_averaged(criterion: Criterion) -> bool:
    """Whether it is about the averaged weights."""
    return variant_of(criterion.metrics[0]) == AVERAGED


def file_name(criterion: Criterion) -> str:
    """A part of a file's name that says which criterion it is."""
    spelled = criterion.text.replace(" - ", " minus ").replace(" + ", " plus ")
    return re.sub(r"[^A-Za-z0-9.]+", "_", spelled).strip("_.")


def read_criteria(cfg: Any) -> tuple[Criterion, ...]:
    """The criteria of ``MTL.SELECT_BY``, in their order; none if it is empty.

    Raises:
        ValueError: a line for each that cannot be understood.
    """
    texts = [text.strip() for text in _COMMA.split(cfg.MTL.SELECT_BY)] if cfg.MTL.SELECT_BY.strip() else []
    criteria, mistakes = [], []
    for text in texts:
        try:
            criteria.append(_read(text, cfg))
        except ValueError as error:
            mistakes += str(error).splitlines()
    names = [file_name(criterion) for criterion in criteria]
    mistakes += [
        f"MTL.SELECT_BY has two criteria whose model would be model_best_{name}.pth: leave one out"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if mistakes:
        raise ValueError("\n".join(dict.fromkeys(mistakes)))
    return tuple(criteria)


def _read(text: str, cfg: Any) -> Criterion:
    criterion: Criterion
    if text in (DELTA, DELTA + AVERAGED):
        base, measures = read_reference(cfg.MTL.SELECT_REFERENCE, cfg.MTL.TASKS)
        criterion = RelativeGain(text, text.removeprefix(DELTA), base, measures)
    else:
        criterion = WeightedSum(text, _terms(text))
        if text != criterion.metrics[0]:
            _require_directions(criterion)
    variants = {variant_of(metric) for metric in criterion.metrics}
    if len(variants) > 1:
        raise ValueError(f"MTL.SELECT_BY {text!r} is about two models: take metrics with {AVERAGED}, or without, alone")
    if variants == {AVERAGED} and not cfg.MTL.EMA.DECAY:
        raise ValueError(f"MTL.SELECT_BY {text!r} is about averaged weights, but MTL.EMA.DECAY is 0: set it, to 0.999")
    return criterion


def _terms(text: str) -> tuple[tuple[float, str], ...]:
    parts = _SIGN.split(text)
    terms = []
    for i, part in enumerate(parts[::2]):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                "MTL.SELECT_BY must be 'group/metric' such as 'bbox/AP', a sum such as 'bbox/AP + 0.5 * sem_seg/mIoU', "
                f"'{DELTA}', several of them with commas between them, or empty, got {text!r}"
            )
        own, factor, metric = match.groups()
        signs = (parts[2 * i - 1] if i else "+") + own
        terms.append(((-1.0 if signs.count("-") % 2 else 1.0) * float(factor or 1), metric))
    return tuple(terms)


def _require_directions(criterion: WeightedSum) -> None:
    """Raises ValueError: a metric counts the wrong way round."""
    for factor, metric in criterion.terms:
        higher = direction(metric)
        if higher is not None and (factor > 0) is not higher:
            which, mend = ("higher", "add") if higher else ("lower", "subtract")
            raise ValueError(
                f"MTL.SELECT_BY {criterion.text!r} is best where it is highest, but {metric} is better the {which} it "
                f"is: {mend} it, with a factor > 0"
            )


def selects_on_held_out(cfg: Any) -> bool:
    """Whether the model is chosen on held-out training images."""
    return bool(cfg.MTL.SELECT_BY) and cfg.MTL.SELECT_ON == HELD_OUT


def chosen_by_itself(cfg: Any) -> str:
    """A warning, if the model is chosen by figures that are also the run's results; else empty.

    A metric that names its data set, as in ``accuracy@multi_mnist_val/harmonic_mean``, is one of a set that stands
    beside the first for this very purpose.
    """
    if not cfg.MTL.SELECT_BY or selects_on_held_out(cfg):
        return ""
    own = [metric for one in read_criteria(cfg) for metric in one.metrics if "@" not in metric.partition("/")[0]]
    if not own:
        return ""
    return (
        f"MTL.SELECT_ON 'test': the model is chosen by {_listed(own)} of the test sets, so that these figures of it "
        "are chosen by themselves, and too good for a comparison; MTL.SELECT_ON 'validation' with "
        "MTL.DATA.VALIDATION_SHARE > 0 chooses on images held out of training"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(names))
