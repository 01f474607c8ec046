"""What was found in the data of a config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from detectron2.config import CfgNode

from mtl_d2.inspection.data_sets import DataSet, DataSets
from mtl_d2.inspection.labels import Summary
from mtl_d2.inspection.observation import Failure, Observation
from mtl_d2.inspection.pictures import Shown


@dataclass(frozen=True)
class Limits:
    """How much is looked at.

    Attributes:
        samples: of each data set that are drawn.
        statistics: samples of each data set that numbers are taken of.
        updates: whose samples are drawn, without reading them.
    """

    samples: int = 4
    statistics: int = 1000
    updates: int = 2000


@dataclass
class SetFindings:
    """What was seen of one data set.

    Attributes:
        data_set: itself.
        observed: of samples.
        failed: samples that cannot be made.
        shown: pictures.
        summaries: by prefix of the source and task.
        notes: what is worth knowing.
        suspicious: what can hardly be meant.
    """

    data_set: DataSet
    observed: list[Observation] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    summaries: dict[tuple[str, str], Summary] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.data_set.name


@dataclass
class Findings:
    """What the page says.

    Attributes:
        cfg: of the run.
        limits: of what was looked at.
        title: of the page.
        refused: what a training would not begin with.
        warned: of by the check of the data.
        data: the data sets, and what updates are made of.
        sets: what was seen of each.
        suspicious: what can hardly be meant, of several sets together.
        colors: of classes, "#rrggbb" by name.
        stopped: whether it was stopped before the end.
    """

    cfg: CfgNode
    limits: Limits
    title: str
    refused: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    data: DataSets = field(default_factory=DataSets)
    sets: list[SetFindings] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)
    colors: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False

    def all_suspicious(self) -> list[str]:
        """Of all data sets; what each of them says alike is said once."""
        return [*self.suspicious, *_together((s.name, line) for s in self.sets for line in s.suspicious)]

    def all_notes(self) -> list[str]:
        """Likewise."""
        return list(_together((s.name, line) for s in self.sets for line in s.notes))


def _together(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for name, line in lines:
        names.setdefault(line, []).append(name)
    yield from (f"{', '.join(dict.fromkeys(of))}: {line}" for line, of in names.items())
