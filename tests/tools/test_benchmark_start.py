"""The measurement of a start."""

import json
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tools")]

import benchmark_start  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("row", [*benchmark_start.ROWS, "worker"])
def test_each_row_is_measured(row, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_start, "SAMPLES", 5)
    benchmark_start.make(tmp_path, 0.0002)
    content = json.loads((tmp_path / "instances.json").read_text())
    assert len(content["images"]) == 24
    assert len(content["annotations"]) == 172
    try:
        result = benchmark_start.start(row, tmp_path, str(tmp_path / "run"))
    finally:
        DatasetCatalog.remove(benchmark_start.NAME)
        MetadataCatalog.remove(benchmark_start.NAME)
    assert result["cpu"] > 0
    assert ("after" in result) == (row == "worker")
