"""Which metrics a comparison shows, which way is better, and against what Delta is taken."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtl_d2.config_check import unknown
from mtl_d2.evaluation.delta import CONVENTIONS, Metric, direction, known_metrics
from mtl_d2.evaluation.main_metrics import task_of

OTHER = "other"  # in place of a task: metrics that are shown, and do not count in Delta


def check_metrics(given: Any, directions: Mapping[str, bool]) -> Iterator[str]:
    """Complaints about a file's ``metrics``: a list of names, or such a list for each task."""
    if given is None:
        return
    lists = list(given.values()) if isinstance(given, dict) else [given]
    if not lists or any(not isinstance(names, list) or not names for names in lists):
        yield f"metrics must be a list of names such as [bbox/AP], or such a list for each task; got {given}"
        return
    names = [str(name) for some in lists for name in some]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"metrics has {name!r} twice"
        if "/" not in name:
            yield f"metrics must be 'group/name' such as 'bbox/AP', got {name!r}"
        elif _higher(name, directions) is None:
            last = name.rpartition("/")[2]
            near = difflib.get_close_matches(last, known_metrics(), n=1)
            guess = f"did you mean {name.rpartition('/')[0]}/{near[0]}? Else" if near else "if there is one,"
            yield (
                f"metrics has {name!r}, which no evaluator is known for: {guess} name it in higher_is_better or "
                "lower_is_better as well"
            )


def read_metrics(given: Any, directions: Mapping[str, bool]) -> tuple[Metric, ...]:
    """The metrics of a file that ``check_metrics`` has found to make sense."""
    tasks = given if isinstance(given, dict) else {"": given or []}
    return tuple(
        Metric(name, "" if task == OTHER else str(task or task_of(name)), bool(_higher(name, directions)))
        for task, names in tasks.items()
        for name in names
    )


def check_delta(given: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Complaints about a file's ``delta``: ``base`` and ``conventions``."""
    yield from (unknown("a key of delta", key, ("base", "conventions")) for key in given if key not in _DELTA)
    base = given.get("base")
    if isinstance(base, str) and base not in names:
        yield unknown("delta: base", base, tuple(names))
    if isinstance(base, dict):
        numbers = {k for k, v in base.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        wrong = {k: v for k, v in base.items() if k not in numbers or not math.isfinite(v)}
        yield from (f"delta: base: {key} must be a finite number, got {value!r}" for key, value in wrong.items())
    elif base is not None and not isinstance(base, str):
        yield f"delta: base must be a method's name, or a value for each metric; got {base}"
    chosen = given.get("conventions", list(CONVENTIONS))
    if not isinstance(chosen, list):
        yield f"delta: conventions must be a list of {', '.join(CONVENTIONS)}; got {chosen}"
        return
    known = tuple(CONVENTIONS)
    yield from (unknown("delta: conventions", name, known) for name in chosen if name not in known)
    yield from (f"delta: conventions has {name!r} twice" for name in known if chosen.count(name) > 1)


def check_reference(given: Any, names: Sequence[str]) -> Iterator[str]:
    """Complaints about a file's ``reference``, the method that differences are taken from."""
    if given is not None and not isinstance(given, str):
        yield f"reference must be a method's name, got {given}"
    elif given is not None and given not in names:
        yield unknown("reference", given, tuple(names))


_DELTA = ("base", "conventions")


def _higher(name: str, directions: Mapping[str, bool]) -> bool | None:
    return directions.get(name, direction(name))
