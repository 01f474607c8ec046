from pathlib import Path

import numpy as np

from mtl_d2.report.run import Run
from mtl_d2.report.series import Series
from mtl_d2.report.union import union_section


def run_of(**last):
    series = {name: Series(name, np.array([1.0, 2.0]), np.array([0.0, value])) for name, value in last.items()}
    return Run(Path(), series=series)


def test_the_last_epochs_and_shares_are_tables():
    values = {"epochs/one set": 2.5, "pairs/detection+semantic": 0.75, "pairs_of_samples/detection+semantic": 0.125}
    body = union_section(run_of(**values)).body
    assert all(text in body for text in ("one set", "2.5", "detection+semantic", "75.0%", "12.5%"))


def test_a_run_that_logged_none_has_no_section():
    assert union_section(run_of(total_loss=1.0)) is None
