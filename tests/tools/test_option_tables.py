"""The documents' tables of options are those that the code declares."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from write_option_tables import method_tables  # noqa: E402

import mtl_d2.balancing  # noqa: E402


def test_the_documents_have_the_tables_that_the_tool_writes():
    tool = [sys.executable, str(TOOLS / "write_option_tables.py"), "--check"]  # alone: other tests declare options
    done = subprocess.run(tool, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_option_is_one_row_with_its_default_meaning_and_range():
    mtl_d2.balancing.load_methods()
    (row,) = [line for line in method_tables().splitlines() if line.startswith("| `CAGRAD.C` |")]
    meaning = "radius of the ball over \\|\\|g_0\\|\\|; 0 gives the mean"
    assert row == f"| `CAGRAD.C` | `0.4` | {meaning} | a finite number >= 0 and < 1 |"
