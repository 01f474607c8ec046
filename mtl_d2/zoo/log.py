"""What a run's ``log.txt`` says of how it was made: command, machine, images."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "log.txt"
_ARGUMENTS = re.compile(r"Command line arguments: (Namespace\(.*\))$", re.MULTILINE)
_EVALUATED = re.compile(r"(\S+): its evaluation was rehearsed in [^,]*, on \d+ of (\d+) images")
_PROCESSES = re.compile(r"World size: (\d+)$", re.MULTILINE)
_VERSION = r"^{}\s+(\d\S*) @"
_INSTRUCTIONS = re.compile(r"CPU capability usage: (\S+)$", re.MULTILINE)
_GPUS = re.compile(r"^GPU [\d,]+\s+(.+?)(?: \(arch=.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Log:
    """What the log says; whatever it does not say is empty.

    Attributes:
        config_file: as it was given to ``tools/train_net.py``.
        options: the ``KEY VALUE`` words after it.
        machine: processor or GPUs, processes and versions, in words.
        evaluated: how many images each test set has.
    """

    config_file: str = ""
    options: tuple[str, ...] = ()
    machine: str = ""
    evaluated: Mapping[str, int] = field(default_factory=dict)


def read_log(folder: Path, on_gpu: bool) -> Log:
    """Of the last training that was begun or gone on with in ``folder``.

    Args:
        folder: of the run.
        on_gpu: whether it trained on a GPU: detectron2 lists those that there are.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Log()
    trainings = [found for found in map(_namespace, _ARGUMENTS.findall(text)) if not found.get("eval_only")]
    last = trainings[-1] if trainings else {}
    evaluated = {name: int(count) for name, count in _EVALUATED.findall(text)}
    options = tuple(str(word) for word in last.get("opts") or ())
    return Log(str(last.get("config_file", "")), options, _machine(text, on_gpu), evaluated)


def _namespace(text: str) -> dict[str, Any]:
    """The arguments of ``Namespace(name=literal, ...)``."""
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except (SyntaxError, ValueError):
        return {}


def _machine(text: str, on_gpu: bool) -> str:
    processes = _last(_PROCESSES, text)
    gpus, instructions = _last(_GPUS, text), _last(_INSTRUCTIONS, text)
    chip = gpus if on_gpu else f"CPU with {instructions}" if instructions else "CPU"
    count = f"{processes} process{'es' if processes != '1' else ''}" if processes else ""
    versions = {
        name: _last(re.compile(_VERSION.format(name), re.MULTILINE), text) for name in ("PyTorch", "detectron2")
    }
    told = [f"{name} {version}" for name, version in versions.items() if version]
    return ", ".join(filter(None, [chip, count, *told])) if processes else ""


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.findall(text)
    return str(found[-1]) if found else ""
