"""What is said before there is a log."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("mtl_d2")


class EarlyLines(logging.Handler):
    """Keeps the lines of mtl_d2 until there is a log to write them to, or the run ends before there is one.

    Data and config are checked before ``OUTPUT_DIR`` is written to; what they warn of belongs in its ``log.txt``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[logging.LogRecord] = []

    def __enter__(self) -> EarlyLines:
        LOGGER.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.hand_over()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        self._kept.append(record)

    def hand_over(self) -> None:
        """Hands them to the handlers that there are now; without any, warnings go to the console as Python has it."""
        LOGGER.removeHandler(self)
        kept, self._kept = self._kept, []
        for record in kept:
            LOGGER.callHandlers(record)
