"""One evaluator, given the truth and given nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mtl_d2.data.errors import DataError
from mtl_d2.evaluation.delta import direction
from mtl_d2.evaluation.sample import choose
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import Record, Truth
from mtl_d2.tasks.base import first_of_each
from mtl_d2.tasks.registry import kinds_of

Metrics = dict[str, float]
Groups = dict[str, Metrics]

PIXELS = 200_000_000  # of all masks, or of all classes' maps, that one evaluator is given: some seconds
ROUNDING = 1e-3  # percent
MOST_ERROR = 1e-2  # of the truth, in an error's own unit, such as the degrees of a median that comes of a histogram
# Of objects of one size: one of another size may take their place, so that even the truth is not perfect.
INEXACT = ("APs", "APm", "APl")
SHOWN = 4  # metrics that a line names

logger = logging.getLogger(__name__)


class Trial:
    """The rehearsal of one evaluator of a data set; every process does its share, and all know what came of it.

    Attributes:
        tool: builds the evaluator.
        records: those that are labelled for a task of it.
        crowded: how many of them even the truth is not perfect for.
        sample: of the others, if there are any: what is looked at.
    """

    def __init__(self, cfg: Any, name: str, tool: Tool, tasks: Sequence[str], records: Sequence[Record]) -> None:
        """Does nothing yet.

        Args:
            cfg: of the run.
            name: of the data set.
            tool: builds the evaluator.
            tasks: that it evaluates.
            records: of the data set, as its reader gives them.
        """
        self.cfg, self.name, self.tool, self.tasks = cfg, name, tool, tasks
        self.total = len(records)
        self.kinds = kinds_of(tasks)
        self.records = [r for r in records if any(kind.record_key in r for kind in self.kinds)]
        self.evaluator = DatasetEvaluator()
        self.truths: list[Truth] = []
        self.crowded = 0
        self.sample: list[Record] = []

    def __call__(self, folder: Path) -> Groups:
        """The metrics of the truth; none where the truth of the data set is not published.

        Args:
            folder: to write to, the same for all processes.

        Raises:
            DataError: on all processes, in a line or more, what is wrong with the evaluation.
        """
        _, error = self._together(lambda: self._prepare(folder))
        if error:
            raise DataError(f"{error}: correct its files or its reader")
        metrics, complaint = self._perfect(self.sample)
        if complaint:
            raise DataError(self._located(complaint, lambda part: self._perfect(part)[1]))
        complaint = self._not_zero(self.sample, metrics)
        if complaint:
            raise DataError(self._located(complaint, lambda part: self._not_zero(part, self._perfect(part)[0])))
        return metrics

    def _prepare(self, folder: Path) -> Groups:
        folder.mkdir(parents=True, exist_ok=True)
        self.evaluator = self.tool.build(self.name, self.kinds, folder)
        self.truths = [kind.truth(self.cfg, self.name) for kind in first_of_each(self.kinds)]
        exact = [record for record in self.records if self.tool.can_be_perfect(record)]
        self.crowded = len(self.records) - len(exact)
        self.sample = choose(exact or self.records, self.tool.images, self._pixels, PIXELS)
        return {}

    def _pixels(self, record: Record) -> int:
        kinds = first_of_each(self.kinds)
        return sum(
            truth.pixels(record) for truth, of in zip(self.truths, kinds, strict=True) if of.record_key in record
        )

    @property
    def cut(self) -> bool:
        """Whether there are images that are not looked at."""
        return len(self.sample) < len(self.records)

    def _perfect(self, records: Sequence[Record]) -> tuple[Groups, str]:
        """The metrics of the truth, and what is wrong with them, if anything is."""
        metrics, error = self._try(records, "right")
        if error:
            return {}, error
        low = {name: value for name, value in _flat(metrics).items() if self._is_low(name, value)}
        if low and self.crowded < len(self.records):
            return {}, f"{self.tool.title} gives the ground truth itself {_instead(low, '100', '0')}"
        return metrics, ""

    def _is_low(self, name: str, value: float) -> bool:
        if _is_error(name):
            return value > MOST_ERROR
        return value < self.tool.perfect - ROUNDING and not name.endswith(INEXACT)

    def _not_zero(self, records: Sequence[Record], perfect: Groups) -> str:
        """What is wrong with the metrics of no predictions: where the truth has one, shares must be 0, errors more."""
        if not perfect or not self.tool.can_be_zero or any(truth.wrong(records[0]) is None for truth in self.truths):
            return ""
        metrics, error = self._try(records, "wrong")
        if error:
            return f"given no predictions at all, {error}"
        values = _flat(metrics)
        high = {
            name: values.get(name, math.nan)
            for name, value in _flat(perfect).items()
            if not math.isnan(value) and not _is_bad(name, values.get(name, math.nan))
        }
        return f"{self.tool.title} gives no predictions at all {_instead(high, '0', 'more')}" if high else ""

    def _located(self, complaint: str, check: Callable[[Sequence[Record]], str]) -> str:
        """The complaint with the first record that raises it alone, if there is one."""
        records = list(self.sample)
        while len(records) > 1:
            half = (len(records) + 1) // 2
            for part in (records[:half], records[half:]):
                alone = check(part)
                if alone:
                    records, complaint = part, alone
                    break
            else:
                whole = f"{complaint} for {len(records)} images together"
                return f"{whole}, from {self._file(records[0])} on: {self.tool.advice}"
        return f"{self._file(records[0])}: {complaint}: {self.tool.advice}"

    def _file(self, record: Record) -> str:
        """The file that is to be looked at: that of the label, where it has one of its own."""
        files = [record[key] for kind in self.kinds for key in kind.file_keys if key in record]
        return str(files[0] if len(files) == len(self.kinds) else record.get("file_name"))

    def _try(self, records: Sequence[Record], kind: str) -> tuple[Groups, str]:
        """The metrics of predictions, the first process's for all; or what an outside tool raised.

        Raises:
            DataError: on all processes, what one of ours says.
        """
        _, error = self._together(lambda: self._feed(records, kind))
        if error:
            return {}, error
        return self._together(lambda: self._evaluate(records))

    def _together(self, call: Callable[[], Groups]) -> tuple[Groups, str]:
        """What the first process gets, and what the first one raised that did, on all processes."""
        metrics, error, line = {}, "", ""
        try:
            metrics = call()
        except DataError as e:
            line = str(e)
        except Exception as e:  # of a record that is not what it should be, or of an outside tool
            logger.debug("the rehearsal failed", exc_info=True)
            error = f"{self.tool.title} fails ({type(e).__name__}: {' '.join(str(e).split())})"
        everywhere = comm.all_gather((metrics, error, line))
        for _, _, line in everywhere:
            if line:
                raise DataError(line)
        return everywhere[0][0], next((error for _, error, _ in everywhere if error), "")

    def _feed(self, records: Sequence[Record], kind: str) -> Groups:
        self.evaluator.reset()
        kinds = first_of_each(self.kinds)
        for record in records[comm.get_rank() :: comm.get_world_size()]:
            truths = [truth for truth, of in zip(self.truths, kinds, strict=True) if of.record_key in record]
            output = {truth.key: getattr(truth, kind)(record) for truth in truths}
            self.evaluator.process([record], [output])
        return {}

    def _evaluate(self, records: Sequence[Record]) -> Groups:
        whole = len(records) == self.total
        groups = self.evaluator.evaluate() if whole else self.tool.evaluate_on(self.evaluator, records)
        return {group: {name: float(v) for name, v in metrics.items()} for group, metrics in (groups or {}).items()}


def _flat(groups: Groups) -> Metrics:
    return {f"{group}/{name}": value for group, metrics in groups.items() for name, value in metrics.items()}


def _is_error(name: str) -> bool:
    """Whether a metric is better when lower."""
    return direction(name) is False


def _is_bad(name: str, value: float) -> bool:
    """Whether a metric is as it is where nothing is right."""
    return value > MOST_ERROR if _is_error(name) else abs(value) <= ROUNDING


def _instead(metrics: Metrics, of_share: str, of_error: str) -> str:
    """What values there are, and what they should be."""
    errors = {name: value for name, value in metrics.items() if _is_error(name)}
    shares = {name: value for name, value in metrics.items() if name not in errors}
    parts = ((shares, of_share), (errors, of_error))
    return " and ".join(
        f"{_some([f'{name} {value:.2f}' for name, value in of.items()])} instead of {wanted}"
        for of, wanted in parts
        if of
    )


def _some(metrics: Sequence[str]) -> str:
    rest = len(metrics) - SHOWN
    return ", ".join(metrics[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
