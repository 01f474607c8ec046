"""tools/benchmark_evaluation.py: what it compares has the same numbers."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark_evaluation


def test_both_ways_have_the_same_numbers(tmp_path, capsys):
    file = tmp_path / "figures.json"
    benchmark_evaluation.main(
        ["--images", "3", "--detections", "8", "--maps", "1", "--rounds", "1", "--json", str(file)]
    )
    figures = json.loads(file.read_text())
    assert set(figures) == {"boxes", "maps"}
    for found in figures.values():
        assert found["difference"] <= 1e-12
        assert found["ratio"] > 0
    assert "difference 0" in capsys.readouterr().out
