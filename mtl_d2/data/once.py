"""Warnings that are said once, whoever reads the data how often."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from detectron2.utils import comm
from detectron2.utils.logger import log_first_n

from mtl_d2.data.kept_lines import ONCE, Line, are_kept


def speaks() -> bool:
    """Whether this process is the first. Those that torchrun started are no group yet while their data are checked."""
    return comm.is_main_process() and os.environ.get("RANK", "0") == "0"


def warn_once(logger: logging.Logger, line: str) -> None:
    """A warning, the first time in this process, and of several processes by the first alone.

    While nothing is logged, as in a rehearsal, it does not count as said.
    """
    if are_kept():
        logger.warning("%s", line, extra={ONCE: True})
        return
    if speaks() and logger.isEnabledFor(logging.WARNING):
        log_first_n(logging.WARNING, line, name=logger.name, key="message")


def inform(logger: logging.Logger, line: str) -> None:
    """Of several processes the first says it, whichever it is that finds it while lines are kept."""
    if are_kept() or speaks():
        logger.info("%s", line, extra={ONCE: True})


def say(lines: Iterable[Line]) -> None:
    """Logs lines that were kept as if they were met now."""
    for line in lines:
        logger = logging.getLogger(line.logger)
        if line.once and line.level == logging.INFO:
            inform(logger, line.text)
        elif line.once:
            warn_once(logger, line.text)
        else:
            logger.log(line.level, "%s", line.text)
