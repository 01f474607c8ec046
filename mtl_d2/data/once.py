"""Warnings that are said once, whoever reads the data how often."""

from __future__ import annotations

import logging
import os

from detectron2.utils import comm
from detectron2.utils.logger import log_first_n


def speaks() -> bool:
    """Whether this process is the first. Those that torchrun started are no group yet while their data are checked."""
    return comm.is_main_process() and os.environ.get("RANK", "0") == "0"


def warn_once(logger: logging.Logger, line: str) -> None:
    """A warning, the first time in this process, and of several processes by the first alone.

    While nothing is logged, as in a rehearsal, it does not count as said.
    """
    if speaks() and logger.isEnabledFor(logging.WARNING):
        log_first_n(logging.WARNING, line, name=logger.name, key="message")
