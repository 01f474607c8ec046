"""Lets the tests of this folder share what they make up."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "data"), str(TESTS / "modeling")]
