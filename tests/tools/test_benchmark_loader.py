"""The comparison with MTAN's loader: that both read the same samples, and that MTAN's geometry is what is described."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))

import benchmark_loader as benchmark  # noqa: E402

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(benchmark, "SAMPLES", 2)
    monkeypatch.setattr(benchmark, "WARM_UP", 0)


def test_both_loaders_are_measured(capsys):
    ratio = benchmark.main(["--rounds", "1", "--batches", "1"])
    assert ratio > 0
    assert f"{ratio:.2f} |" in capsys.readouterr().out


def test_without_augmentation_both_loaders_have_the_same_sample(tmp_path, monkeypatch):
    benchmark.make_up(tmp_path)
    benchmark.register_all(str(tmp_path))
    monkeypatch.setattr(benchmark, "SCALES", (1.0,))
    monkeypatch.setattr(benchmark.random, "random", lambda: 0.9)  # no flip
    image, label, depth, normal = benchmark.PublishedArrays(tmp_path / "nyuv2" / "train")[1]
    loader = benchmark.build_train_loader(benchmark.config(["RandomFlip(0.0)"], 0))
    sample = next(s for s in next(iter(loader)) if s["image_id"] == "1")
    assert np.array_equal(sample["image"], (image.flip(0) * 255).round().byte())
    assert np.array_equal(sample["sem_seg"], torch.where(label < 0, 255, label).long())
    assert np.array_equal(sample["depth"], depth[0])
    torch.testing.assert_close(sample["normals"], normal, rtol=0, atol=1e-6)


def test_the_published_scale_crop_magnifies_and_divides_depth(monkeypatch):
    monkeypatch.setattr(benchmark.random, "choice", lambda scales: 1.5)
    monkeypatch.setattr(benchmark.random, "randint", lambda low, high: high)  # the lower right window
    ramp = torch.arange(6.0).expand(1, 6, 6)
    image, label, depth, normal = benchmark.scale_crop(ramp, ramp[0], ramp, ramp)
    torch.testing.assert_close(image[0, 0], torch.linspace(2, 5, 6))  # corners stay corners
    assert label[0].tolist() == [2, 2, 3, 4, 4, 5]
    torch.testing.assert_close(depth[0], label / 1.5)
    assert torch.equal(normal, image)


def test_wrong_numbers_are_refused(capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(["--rounds", "0"])
    assert "--rounds and --batches at least 1" in capsys.readouterr().err
