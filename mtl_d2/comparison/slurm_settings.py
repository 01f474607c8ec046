"""What a user may ask SLURM for, ``KEY=VALUE``, and how submitit calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.config_check import unknown

GRACE = 120  # seconds before the time limit at which a training is asked to stop


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        name: submitit's.
        read: from a word; None where the word makes no sense.
        rule: what a value has to be.
    """

    name: str
    read: Callable[[str], Any]
    rule: str


def slurm_parameters(words: Sequence[str]) -> dict[str, Any]:
    """What submitit is told for ``KEY=VALUE`` words.

    Raises:
        ComparisonError: every mistake in them, one line each.
    """
    given = [word.partition("=") for word in words]
    mistakes = [f"{key!r} must be KEY=VALUE, such as time=240" for key, sign, _ in given if not sign]
    parameters: dict[str, Any] = {}
    for key, sign, text in given:
        if sign:
            mistakes += _add(parameters, key, text)
    if "time" not in parameters and not any(line.startswith("time") for line in mistakes):
        mistakes.append("time=MINUTES is missing: the limit of one job; a run that takes longer goes on in the next")
    grace = parameters.setdefault("signal_delay_s", GRACE)
    if not mistakes and grace >= 60 * parameters["time"]:
        mistakes.append(f"grace must be less than time, {60 * parameters['time']} seconds, got {grace}")
    if mistakes:
        raise ComparisonError("--slurm", mistakes)
    return parameters


def _add(parameters: dict[str, Any], key: str, text: str) -> list[str]:
    if key not in SETTINGS:
        return [unknown("a key of --slurm", key, tuple(SETTINGS))]
    setting = SETTINGS[key]
    value = setting.read(text)
    if value is None:
        return [f"{key} must be {setting.rule}, got {text!r}"]
    if setting.name in parameters:
        return [f"{key} is given twice"]
    parameters[setting.name] = value
    return []


def _whole(least: int) -> Callable[[str], int | None]:
    return lambda text: int(text) if text.isascii() and text.isdigit() and int(text) >= least else None


def _gigabytes(text: str) -> str | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return f"{math.ceil(value * 1024)}M" if math.isfinite(value) and value > 0 else None


def _text(text: str) -> str | None:
    return text if text.strip() and text.isprintable() else None


_WORD = "a text"
SETTINGS: Mapping[str, Setting] = {
    "time": Setting("time", _whole(1), "a whole number of minutes, at least 1"),
    "partition": Setting("partition", _text, _WORD),
    "account": Setting("account", _text, _WORD),
    "qos": Setting("qos", _text, _WORD),
    "gpus_per_node": Setting("gpus_per_node", _whole(0), "a whole number, at least 0"),
    "cpus_per_task": Setting("cpus_per_task", _whole(1), "a whole number, at least 1"),
    "mem_gb": Setting("mem", _gigabytes, "a number of gigabytes above 0"),
    "constraint": Setting("constraint", _text, _WORD),
    "gres": Setting("gres", _text, _WORD),
    "exclude": Setting("exclude", _text, _WORD),
    "nodelist": Setting("nodelist", _text, _WORD),
    "wckey": Setting("wckey", _text, _WORD),
    "grace": Setting("signal_delay_s", _whole(10), "a whole number of seconds, at least 10"),
}
