"""TorchScript and torch.export, and what the tool refuses."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks_to_export import ROOT, untrained

from mtl_d2.export import ExportError
from mtl_d2.export.check import drawn_pictures, expected
from mtl_d2.export.comparison import differences
from mtl_d2.export.network import ExportedNetwork
from mtl_d2.export.onnx_file import NEWEST, OLDEST
from mtl_d2.export.run import Wish, export
from mtl_d2.export.torch_files import EXTRA, run_torchscript


def test_torchscript_has_the_networks_results_at_another_size(tmp_path):
    trained, file = untrained("MultiTaskRetinaNet"), tmp_path / "network.ts"
    agreement = export(trained, Wish(file))
    assert agreement.objects > 20
    extra = {EXTRA: ""}
    torch.jit.load(str(file), _extra_files=extra)
    names = [name for task in json.loads(extra[EXTRA])["tasks"] for name in task["outputs"]]
    image = drawn_pictures((3, 77, 141), 1)[0]
    found = run_torchscript(file, names, 2)(image, (50, 90))
    assert list(differences(found, expected(ExportedNetwork(trained.model), image, (50, 90)))) == []


def test_torch_export_has_networks_that_classify(tmp_path):
    agreement = export(untrained("MultiTaskClassifier"), Wish(tmp_path / "network.pt2"))
    assert agreement.images >= 4


def test_torch_export_says_why_it_has_no_detectors(tmp_path, capsys):
    with pytest.raises(ExportError, match=r"^not by torch\.export, which needs the sizes .* beforehand: .+"):
        export(untrained("MultiTaskFCOS"), Wish(tmp_path / "network.pt2"))
    assert list(tmp_path.iterdir()) == []
    assert "def forward" not in "".join(capsys.readouterr())


OBJECTS = {
    "a/boxes": np.array([[0, 0, 10, 10], [5, 5, 25, 15]], np.float32),
    "a/scores": np.array([0.9, 0.4], np.float32),
    "a/classes": np.array([1, 0]),
}
MAP = {"depth": np.linspace(0, 50, 12, dtype=np.float32).reshape(3, 4)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({name: values[::-1] for name, values in OBJECTS.items()}, None),  # another order
        ({"a/boxes": OBJECTS["a/boxes"] + np.float32(0.009)}, None),  # a thousandth of 10 pixels
        ({"a/boxes": OBJECTS["a/boxes"] + np.float32(0.011)}, "object 0"),
        ({"a/classes": np.array([1, 1])}, None),  # the last one has the lowest score: which is kept may be chance
        ({"a/classes": np.array([0, 0])}, "object 0 of class 1"),
        ({"a/scores": np.array([0.9021, 0.4], np.float32)}, "object 0"),
        ({name: values[:1] for name, values in OBJECTS.items()}, "1 objects, the network has 2"),
        ({"depth": MAP["depth"] + np.float32(0.04)}, None),  # a thousandth of 50
        ({"depth": MAP["depth"] + np.float32(0.06)}, "depth: up to 0.06"),
        ({"depth": MAP["depth"].T}, r"depth: \(4, 3\), the network has \(3, 4\)"),
        ({"depth": MAP["depth"] * np.float32("nan")}, "depth: up to nan"),
    ],
)
def test_what_is_another_prediction(change, said):
    wanted = OBJECTS | MAP
    lines = list(differences(wanted | change, wanted))
    if said is None:
        assert lines == []
    else:
        assert re.search(said, "; ".join(lines))


def tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / "export.py"), run_name="__main__")
    return stopped.value.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "network.tflite"], "its name must end with one of .onnx (ONNX), .ts (TorchScript), .pt2"),
        (["--output", "nowhere/network.onnx"], "there is no folder nowhere"),
        (["--output", "network.onnx", "--opset", "11"], f"--opset 11: must be {OLDEST} to {NEWEST}"),
        (["--output", "network.ts"], "no-run is not there: name the OUTPUT_DIR of a training"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = tool(monkeypatch, "--run", "no-run", *arguments)
    assert message.startswith("error: ")
    assert said in message
    assert "\n" not in message
    assert not list(Path(tmp_path).iterdir())


def test_packages_that_are_missing_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("mtl_d2.export.onnx_file.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r'onnx and onnxruntime must be installed .* pip install -e "\.\[export\]"'):
        export(untrained("MultiTaskClassifier"), Wish(tmp_path / "network.onnx"))
