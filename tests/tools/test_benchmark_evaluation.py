"""tools/benchmark_evaluation.py: what it compares has the same numbers."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark_evaluation


def test_all_ways_have_the_same_numbers(tmp_path, monkeypatch, capsys):
    pytest.importorskip("cityscapesscripts")
    monkeypatch.setattr(benchmark_evaluation, "FRAME", (360, 500))
    monkeypatch.setenv(benchmark_evaluation.PROCESSES, "1")  # the tool sets it
    file = tmp_path / "figures.json"
    benchmark_evaluation.main(
        ["--images", "3", "--detections", "8", "--maps", "1", "--frames", "5", "--rounds", "1", "--json", str(file)]
    )
    figures = json.loads(file.read_text())
    assert set(figures) == {"boxes", "maps", "cityscapes instance", "cityscapes semantic"}
    for what in ("boxes", "maps"):
        assert figures[what]["difference"] <= 1e-12
        assert figures[what]["ratio"] > 0
    for what in ("cityscapes instance", "cityscapes semantic"):
        assert figures[what]["equal"] is True
    assert "difference 0" in capsys.readouterr().out
