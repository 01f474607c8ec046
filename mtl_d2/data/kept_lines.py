"""Lines of the log that are kept, to be said by every run that what they tell of is true for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

ONCE = "mtl_d2_once"  # attribute of a log record
LOGGERS = ("", "mtl_d2", "detectron2")  # those that handlers are added to: the root, and what may not pass lines to it


class Line(NamedTuple):
    """A line of the log: its logger's name, level, text, and whether one process alone says it; see ``once``."""

    logger: str
    level: int
    text: str
    once: bool


class Keeper(logging.Handler):
    """Keeps lines instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one."""
        self.lines.append(Line(record.name, record.levelno, record.getMessage(), hasattr(record, ONCE)))


@contextmanager
def keeping_lines() -> Iterator[list[Line]]:
    """Lines from INFO on that are logged meanwhile are in the list, and nowhere else."""
    keeper = Keeper()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [keeper], False
        logger.setLevel(logging.INFO)
    try:
        yield keeper.lines
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def are_kept() -> bool:
    """Whether lines are kept at the moment, and are said later by each process as it should."""
    return any(isinstance(handler, Keeper) for handler in logging.getLogger().handlers)
