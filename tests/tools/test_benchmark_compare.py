"""The benchmark of a comparison's own costs, with runs that take no time."""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))

import benchmark_compare  # noqa: E402


def test_the_parts_add_up_to_the_whole(capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "put back afterwards")
    assert benchmark_compare.main(benchmark_compare.parse(["--runs", "2", "--seconds", "0", "--rows", "3"])) == 0
    said = capsys.readouterr().out
    assert "2 runs, " in said
    *parts, whole = [float(text) for text in re.findall(r"^\| .+ \| ([\d.]+) \| [\d.]+% \|$", said, re.MULTILINE)]
    assert len(parts) == 3
    assert abs(sum(parts) - whole) <= 0.2
    assert min(parts) > 0
