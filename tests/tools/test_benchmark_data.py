"""The measurement of the loader, and that the commands of the README are commands."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tools"), str(REPOSITORY / "tests" / "data")]

import benchmark_data  # noqa: E402
from tiny_bdd100k import write_tiny_bdd100k  # noqa: E402

CONFIG = ["--config-file", str(REPOSITORY / "configs" / "sample_scenes_mclgs.yaml")]


def test_each_number_of_workers_gives_its_images(tmp_path, monkeypatch, capsys):
    write_tiny_bdd100k(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    small = ["--workers", "0", "1", "--batches", "2", "--rounds", "1", "INPUT.MIN_SIZE_TRAIN", "(48,)"]
    rates = benchmark_data.main([*CONFIG, *small])
    assert list(rates) == [0, 1]
    assert all(rate > 0 for rate in rates.values())
    assert f"| 1 | {rates[1]:.1f} | {1000 / rates[1]:.1f} |" in capsys.readouterr().out


def test_wrong_numbers_are_refused(capsys):
    with pytest.raises(SystemExit):
        benchmark_data.parse([*CONFIG, "--batches", "0"])
    assert "--batches and --rounds at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tools").iterdir()), ids=lambda path: path.name)
def test_what_names_its_interpreter_can_be_executed(path):
    if path.is_file() and path.read_bytes().startswith(b"#!"):
        assert os.access(path, os.X_OK)
