"""What differs between the configs of two runs, and whether it changes what is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from detectron2.config import CfgNode

from mtl_d2.config import leaves
from mtl_d2.earlier_keys import by_present_keys
from mtl_d2.engine.resume import changes
from mtl_d2.report.run import Run

ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """Of one key, e.g. ``SOLVER.BASE_LR``, with its value in either config, as text."""

    key: str
    one: str
    other: str


def config_differences(one: Run, other: Run) -> tuple[list[Difference], list[Difference]]:
    """What differs and changes the training, and what differs otherwise, in the order of the keys.

    The first is what a resumed run is warned of. A key that one of the configs does not have is as its default, where
    it has one.
    """
    values, others = (by_present_keys(dict(leaves(run.config))) for run in (one, other))
    training = changes(yaml.safe_dump(one.config), CfgNode(yaml.safe_load(yaml.safe_dump(other.config))))
    differing = [key for key in sorted(values.keys() & others.keys()) if values[key] != others[key]]
    rest = [key for key in differing if key not in training]
    return _differences(training, values, others), _differences(rest, values, others)


def _differences(keys: Iterable[str], one: dict[str, Any], other: dict[str, Any]) -> list[Difference]:
    return [Difference(key, _text(one, key), _text(other, key)) for key in keys]


def _text(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else ABSENT
