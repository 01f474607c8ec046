import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("evaluation", "../tools")]

from own_sets import sets  # noqa: E402, F401  # a fixture
