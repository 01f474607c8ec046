"""Fixtures of the evaluation's tests."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "data")]

from own_sets import sets  # noqa: E402, F401
