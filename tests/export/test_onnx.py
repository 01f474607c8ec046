"""Files in ONNX, run by onnxruntime; skipped where the extra "export" is not installed."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from networks_to_export import CONFIGS, ROOT, untrained
from torch import nn
from torch.nn import functional as F

from mtl_d2.export import ExportError
from mtl_d2.export.architectures import thresholded
from mtl_d2.export.check import Trial, check, drawn_pictures, expected
from mtl_d2.export.description import KEY
from mtl_d2.export.network import ExportedNetwork, evaluating
from mtl_d2.export.onnx_file import run_onnx
from mtl_d2.export.run import Wish, export
from mtl_d2.export.unpooling import unpooling

onnx = pytest.importorskip("onnx", reason='needs the extra "export"')
pytest.importorskip("onnxruntime", reason='needs the extra "export"')
OBJECTS = ("MultiTaskFCOS", "MultiTaskRCNN", "MultiTaskRetinaNet")


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_is_exported_checked_and_left_as_it_was(architecture, exported):
    trained, file, agreement = exported(architecture)
    assert agreement.images >= 4
    if architecture in OBJECTS:
        assert agreement.objects > 20
        assert agreement.empty >= 1
    assert all(module.training for module in trained.model.modules())
    before = untrained(architecture)
    now, then = ([part.test_score_thresh for part in thresholded(one.model)] for one in (trained, before))
    assert now == then
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("size", [(64, 96), (50, 75), (33, 130)], ids=str)
def test_results_are_the_models_own_inference(size, exported):
    trained, file, _ = exported("MultiTaskFCOS")
    image = drawn_pictures((3, *size), 1)[0]
    found = run_onnx(file)(image, (120, 200))
    with evaluating(trained.model):
        (wanted,) = trained.model.inference([{"image": torch.from_numpy(image), "height": 120, "width": 200}])
    objects = wanted["instances"]
    assert len(objects) > 5
    np.testing.assert_allclose(found["instances/boxes"], objects.pred_boxes.tensor, atol=1e-2)
    np.testing.assert_array_equal(found["instances/classes"], objects.pred_classes)
    np.testing.assert_allclose(found["sem_seg"], wanted["sem_seg"], atol=1e-3)
    np.testing.assert_allclose(found["depth"], wanted["depth"], atol=1e-3)  # scaled back by the magnification


def test_more_candidates_than_when_it_was_traced_are_cut_as_the_network_cuts_them(tmp_path):
    trained = untrained("MultiTaskFCOS")
    trained.model.test_topk_candidates = 40  # levels of small images have fewer
    trained.cfg.INPUT.MIN_SIZE_TEST, trained.cfg.INPUT.MAX_SIZE_TEST = 8, 8
    export(trained, Wish(tmp_path / "network.onnx"))
    network = ExportedNetwork(trained.model)
    image = drawn_pictures((3, 128, 160), 1)[0]
    run = run_onnx(tmp_path / "network.onnx")
    assert check(run, network, [Trial(image, (128, 160), "large")], stored_size=True).objects > 40


def test_ids_are_the_classes_of_the_highest_scores(tmp_path):
    trained = untrained("MultiTaskDense")
    export(trained, Wish(tmp_path / "network.onnx", stored_size=False, ids=True))
    image = drawn_pictures((3, 64, 96), 1)[0]
    ids = run_onnx(tmp_path / "network.onnx")(image, (64, 96))["sem_seg"]
    assert ids.dtype == np.uint8
    scores = expected(ExportedNetwork(trained.model), image, (64, 96))["sem_seg"]
    assert (ids == scores.argmax(0)).mean() > 0.999


def test_a_file_that_predicts_something_else_is_refused_and_deleted(tmp_path, monkeypatch):
    """A suppression that ends too early is what a mistake in the graph may look like."""
    trained = untrained("MultiTaskFCOS")
    monkeypatch.setattr("mtl_d2.export.onnx_file.most_kept", lambda model: (3,))
    with pytest.raises(ExportError, match=r"instances: 3 objects, the network has \d+"):
        export(trained, Wish(tmp_path / "network.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_suppression_ends_with_what_the_network_keeps(exported):
    graph = onnx.load(exported("MultiTaskRCNN")[1]).graph
    kept = {one.name: int(onnx.numpy_helper.to_array(one)[0]) for one in graph.initializer if "boxes_kept" in one.name}
    assert kept == {"boxes_kept_0": 20, "boxes_kept_1": 100}  # POST_NMS_TOPK_TEST, DETECTIONS_PER_IMAGE


class Unpooled(nn.Module):
    def forward(self, x):
        pooled, places = F.max_pool2d(x, 2, 2, return_indices=True)
        return F.max_unpool2d(pooled * 2, places, [2, 2], [2, 2])


def test_unpooling_puts_values_where_the_maxima_were(tmp_path):
    x, file = torch.randn(2, 3, 8, 12), tmp_path / "unpool.onnx"
    with unpooling(17):
        torch.onnx.export(
            Unpooled(), (x,), file, dynamo=False, opset_version=17, input_names=["image"], output_names=["y"],
            dynamic_axes={"image": {2: "h", 3: "w"}},
        )  # fmt: skip
    for size in ((8, 12), (4, 6)):
        x = torch.randn(2, 3, *size)
        np.testing.assert_array_equal(run_onnx(file)(x.numpy(), size)["y"], Unpooled()(x))
    with pytest.raises((torch.onnx.errors.OnnxExporterError, ValueError)):  # nothing stays registered
        torch.onnx.export(Unpooled(), (x,), file, dynamo=False, opset_version=17)


class Sine(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    trained = untrained("MultiTaskClassifier")
    trained.model.backbone.append(Sine())
    with pytest.raises(ExportError, match=r"not in ONNX with opset 17: .*bessel_j0"):
        export(trained, Wish(tmp_path / "network.onnx"))
    assert list(tmp_path.iterdir()) == []


def run_alone(file, images, output):
    """The runner, in a Python that has neither torch nor this package."""
    script = str(ROOT / "docs" / "examples" / "run_onnx.py")
    arguments = [script, str(file), *map(str, images), "--output", str(output), "--score", "0"]
    program = (
        "import sys, runpy\n"
        "for name in ('torch', 'mtl_d2', 'detectron2', 'PIL', 'onnx', 'scipy'): sys.modules[name] = None\n"
        f"sys.argv = {arguments!r}\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-c", program], cwd=output, capture_output=True, text=True, check=False)


def test_the_runner_needs_neither_torch_nor_this_package(exported, tmp_path):
    trained, file, _ = exported("MultiTaskRCNN")
    image = drawn_pictures((3, 100, 150), 1)[0].transpose(1, 2, 0).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), image)
    done = run_alone(file, [tmp_path / "street.png"], tmp_path)
    assert done.returncode == 0, done.stderr
    results = np.load(tmp_path / "street_results.npz")
    with evaluating(trained.model):
        (wanted,) = trained.model.inference([trained.sample(np.ascontiguousarray(image[..., ::-1]))])
    objects = wanted["instances"]
    assert len(results["instance/boxes"]) == len(objects) > 5
    for box, mask in zip(objects.pred_boxes.tensor.numpy(), objects.pred_masks.numpy(), strict=True):
        apart = abs(results["instance/boxes"] - box).max(1)
        assert apart.min() < 0.05
        assert (results["instance/masks"][apart.argmin()] != mask).mean() < 1e-3
    np.testing.assert_allclose(results["normals/values"], wanted["normals"], atol=0.02)
    assert cv2.imread(str(tmp_path / "street_results.png")).shape == (100, 300, 3)  # normals beside it


@pytest.mark.parametrize(
    ("kind", "key", "shape"),
    [("MultiTaskDense", "semantic/ids", (90, 70)), ("MultiTaskClassifier", "class_left/class", ())],
)
def test_the_runner_knows_maps_and_classes(kind, key, shape, exported, tmp_path):
    cv2.imwrite(str(tmp_path / "some.jpg"), drawn_pictures((3, 90, 70), 1)[0].transpose(1, 2, 0))
    done = run_alone(exported(kind)[1], [tmp_path / "some.jpg"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "some_results.npz")[key].shape == shape


def test_results_at_the_size_of_the_input_are_brought_to_that_of_the_image(tmp_path):
    trained = untrained("MultiTaskFCOS")
    export(trained, Wish(tmp_path / "network.onnx", stored_size=False))
    cv2.imwrite(str(tmp_path / "some.png"), drawn_pictures((3, 128, 160), 1)[0].transpose(1, 2, 0))
    done = run_alone(tmp_path / "network.onnx", [tmp_path / "some.png"], tmp_path)
    assert done.returncode == 0, done.stderr
    results = np.load(tmp_path / "some_results.npz")
    assert results["semantic/ids"].shape == results["depth/values"].shape == (128, 160)
    with evaluating(trained.model):
        (wanted,) = trained.model.inference([trained.sample(cv2.imread(str(tmp_path / "some.png"))[..., ::-1])])
    assert (results["semantic/ids"] == wanted["sem_seg"].argmax(0).numpy()).mean() > 0.98


def test_the_file_says_what_its_outputs_are(exported):
    (said,) = [one.value for one in onnx.load(exported("MultiTaskFCOS")[1]).metadata_props if one.key == KEY]
    about = json.loads(said)
    assert [(one["task"], one["outputs"], len(one["classes"])) for one in about["tasks"]] == [
        ("detection", ["instances/boxes", "instances/scores", "instances/classes"], 4),
        ("semantic", ["sem_seg"], 5),
        ("depth", ["depth"], 0),
    ]
    assert about["image"]["resize"] == {"shortest": 64, "longest": 128, "filter": "pillow"}


def test_the_runner_refuses_another_file(tmp_path):
    node = onnx.helper.make_node("Relu", ["image"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("image", "y")]
    graph = onnx.helper.make_graph([node], "other", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    script = Path(ROOT / "docs" / "examples" / "run_onnx.py")
    arguments = [sys.executable, script, tmp_path / "other.onnx", "x.png", "--output", tmp_path]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was not written by tools/export.py" in done.stderr


def test_the_runner_says_in_a_line_what_is_no_network(tmp_path):
    (tmp_path / "network.onnx").write_bytes(b"no network")
    example = runpy.run_path(str(ROOT / "docs" / "examples" / "run_onnx.py"))
    with pytest.raises(SystemExit, match=r"^error: .*network\.onnx is no network that onnxruntime can run"):
        example["Network"](tmp_path / "network.onnx")
