"""The documents' tables of options are those that the code declares."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from write_option_tables import method_tables, texts


def test_the_documents_have_the_tables_that_the_tool_writes():
    for path, text in texts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run tools/write_option_tables.py"


def test_an_option_is_one_row_with_its_default_meaning_and_range():
    (row,) = [line for line in method_tables().splitlines() if line.startswith("| `CAGRAD.C` |")]
    meaning = "radius of the ball over \\|\\|g_0\\|\\|; 0 gives the mean"
    assert row == f"| `CAGRAD.C` | `0.4` | {meaning} | a finite number >= 0 and < 1 |"
