"""tools/benchmark_inference.py: what it compares predicts the same, and every figure is there."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark_inference
from benchmark_inference_networks import CANDIDATES, build, detectron2_networks, set_thresholds

SIZE = (64, 96)


@pytest.fixture(params=["small", "rcnn-small"])
def network(request):
    model = build(request.param, "cpu", 5)
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    samples = [{"image": image, "height": 80, "width": 120}]
    with torch.no_grad():
        set_thresholds(model, samples)
    return model, samples


def test_detectron2s_networks_predict_what_ours_does(network):
    model, samples = network
    with torch.no_grad():
        (ours,) = model(samples)
        assert 0 < len(ours["instances"]) <= CANDIDATES
        for name, other in detectron2_networks(model).items():
            (theirs,) = other(samples)
            assert theirs.keys() & ours.keys(), name
            if "sem_seg" in theirs:
                assert torch.equal(theirs["sem_seg"], ours["sem_seg"]), name
            if "instances" in theirs:
                assert torch.equal(theirs["instances"].pred_boxes.tensor, ours["instances"].pred_boxes.tensor), name


def test_figures_are_written(tmp_path, capsys):
    file = tmp_path / "figures.json"
    given = ["--model", "small", "--size", "64", "96", "--further", "depth", "--rounds", "1", "--json", str(file)]
    benchmark_inference.main(given)
    figures = json.loads(file.read_text())
    assert figures["networks"]["mtl_d2, detection"]["ratio"] > 0
    assert figures["networks"]["3 networks, one after the other"]["ratio"] > 0
    assert {"trunk", "detection: boxes of their maps", "semantic: classes at the image"} <= set(figures["parts"])
    assert "| trunk |" in capsys.readouterr().out
