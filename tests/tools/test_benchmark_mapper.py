"""The comparison with detectron2's mapper: that all are measured, on the same samples."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))

import benchmark_mapper as benchmark  # noqa: E402
import compare_pixels  # noqa: E402


def images(folder):
    path = folder / "a.jpg"
    Image.fromarray(benchmark.made_up_image(np.random.default_rng(0), 160, 90)).save(path)
    return [path]


def test_mappers_are_measured_on_the_same_samples(tmp_path):
    (record,) = benchmark.labelled(images(tmp_path), tmp_path, 5)
    one, two = (benchmark.mapper(name, benchmark.TASKS[-1])(record, 0) for name in (benchmark.DETECTRON2, "opencv"))
    assert one["image"].shape == two["image"].shape
    assert len(one["instances"]) == len(two["instances"]) == 5
    assert one["sem_seg"].shape == two["sem_seg"].shape
    assert torch.equal(one["depth"].unique(), two["depth"].unique())


def test_distances_of_pixels_are_printed(tmp_path, capsys):
    images(tmp_path)
    figures = compare_pixels.main([str(tmp_path), "--sides", "45"])
    assert figures.keys() == {None, 45}
    assert figures[45][0] <= 2
    assert "| as stored | " in capsys.readouterr().out
