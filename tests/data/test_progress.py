"""What a start is at is said while it takes its time, and its lines are kept for later ones."""

import logging
import re
import time
from contextlib import suppress

from mtl_d2.data.kept_lines import Line, are_kept, keeping_lines
from mtl_d2.data.once import say, warn_once
from mtl_d2.data.progress import Progress

logger = logging.getLogger("mtl_d2.data.somewhere")


def test_a_quick_start_says_nothing(capsys):
    with Progress(quiet=60) as progress:
        progress.now("reading")
    assert capsys.readouterr().err == ""


def test_a_slow_one_says_what_it_is_at(capsys):
    progress = Progress(quiet=0.05, period=0.01)
    progress.now("reading")
    said, end = "", time.monotonic() + 20
    with progress:
        while not said and time.monotonic() < end:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert re.match(r"(reading \(\d+ s\)\n)+$", said)


def test_lines_are_kept_and_not_said_and_loggers_are_as_before(caplog):
    caplog.set_level(logging.WARNING)
    root = logging.getLogger()
    before = (root.handlers, root.level)
    with suppress(KeyError), keeping_lines() as lines:
        logger.info("%d images", 3)
        logging.getLogger("detectron2.data").warning("odd")
        warn_once(logger, "100 % odd")
        warn_once(logger, "100 % odd")
        raise KeyError
    assert caplog.text == ""
    assert (root.handlers, root.level) == before
    assert not are_kept()
    assert lines == [
        Line("mtl_d2.data.somewhere", logging.INFO, "3 images", False),
        Line("detectron2.data", logging.WARNING, "odd", False),
        *[Line("mtl_d2.data.somewhere", logging.WARNING, "100 % odd", True)] * 2,
    ]
    say(lines)
    assert [record.getMessage() for record in caplog.records] == ["odd", "100 % odd"]
