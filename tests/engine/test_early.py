import logging

from mtl_d2.engine.early import EarlyLines

LOG = logging.getLogger("mtl_d2.data.check")


def test_what_is_warned_of_before_there_is_a_log_is_written_to_the_log(tmp_path):
    file = logging.FileHandler(tmp_path / "log.txt")
    logger = logging.getLogger("mtl_d2")
    with EarlyLines() as early:
        LOG.warning("a class that no map holds")
        logger.addHandler(file)
        try:
            early.hand_over()
        finally:
            logger.removeHandler(file)
        LOG.warning("later")
    assert (tmp_path / "log.txt").read_text() == "a class that no map holds\n"


def test_what_is_warned_of_before_an_error_is_on_the_console(capsys, monkeypatch):
    for logger in (logging.root, logging.getLogger("mtl_d2")):  # that another test's training has set up
        monkeypatch.setattr(logger, "handlers", [])
    try:
        with EarlyLines():
            LOG.warning("a class that no map holds")
            raise ValueError("no data set")
    except ValueError:
        pass
    assert capsys.readouterr().err == "a class that no map holds\n"
