"""The tool, in this process."""

import importlib.util
import json
import re
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_d2.data.dense_files import depth_encoding, read_depth
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.files import WriteError
from mtl_d2.prediction import run_folder
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.network import Network

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("predict", REPOSITORY / "tools" / "predict.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def predict(run, tmp_path, monkeypatch, network):
    """Calls the tool with an input and further words; gives the exit status and the folder of the output."""
    monkeypatch.setattr(tool, "load", lambda *args, **options: network)

    def call(given, *words):
        output = tmp_path / "output"
        return tool.main(
            tool.parse(["--run", str(run), "--input", str(given), "--output", str(output), *words])
        ), output

    return call


def test_images_become_pictures_json_maps_and_arrays(predict, folder, network, image):
    status, output = predict(folder, "--save", "pictures", "coco", "png", "npy")
    assert status == 0
    expected = network(image)
    for name in ("a", "inner/b"):
        assert cv2.imread(str(output / "pictures" / f"{name}.jpg")).shape == (240, 404, 3)
        np.testing.assert_array_equal(
            cv2.imread(str(output / "semantic" / f"{name}.png"), cv2.IMREAD_UNCHANGED), expected["semantic"].ids
        )
        depth = expected["depth"].values
        np.testing.assert_array_equal(np.load(output / "depth" / f"{name}.npy"), depth)
        read = read_depth(str(output / "depth" / f"{name}.png"), depth_encoding("kitti")).values
        np.testing.assert_allclose(read, depth.clip(0), atol=0.5 / 256 + 1e-5)
        normals = cv2.imread(str(output / "normals" / f"{name}.png"))[..., ::-1] / 127.5 - 1
        np.testing.assert_allclose(normals, expected["normals"].vectors, atol=0.5 / 127.5 + 1e-5)
    content = json.loads((output / "instance.json").read_text())
    assert [one["name"] for one in content["categories"]] == list(network.classes["instance"])
    assert [Path(one["file_name"]).name for one in content["images"]] == ["a.png", "b.png"]
    first = [one for one in content["annotations"] if one["image_id"] == 1]
    x, y, width, height = first[0]["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], expected["instance"].boxes[0], atol=0.02)
    assert len(first) == len(expected["instance"])
    assert first[0]["segmentation"]["size"] == [60, 101]
    assert json.loads((output / "predictions.json").read_text())["finished"]


def test_a_video_becomes_a_video_of_its_size_rate_and_length(predict, clip):
    status, output = predict(clip, "--batch", "2", "--tasks", "detection", "depth")
    assert status == 0
    capture = cv2.VideoCapture(str(output / "clip.webm"))
    assert [capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)] == [96, 60]
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    assert sum(capture.read()[0] for _ in range(9)) == 5
    frames = json.loads((output / "predictions.json").read_text())["frames"]
    np.testing.assert_allclose([frame["seconds"] for frame in frames], np.arange(5) / 12.5, atol=1e-6)


def test_a_broken_image_among_good_ones_is_named_and_skipped(predict, folder, capsys):
    (folder / "b.jpg").write_bytes(b"no image")
    status, output = predict(folder)
    assert status == 1
    assert "b.jpg" in capsys.readouterr().err
    content = json.loads((output / "predictions.json").read_text())
    assert [frame["name"] for frame in content["frames"]] == ["a", "inner/b"]
    assert content["failed"][0]["file"].endswith("b.jpg")


def test_the_exit_status_tells_nothing_from_a_part(predict, tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert predict(tmp_path / "b.jpg")[0] == 2


def test_what_stands_in_the_way_of_a_file_is_said_in_a_line(predict, folder, tmp_path):
    (tmp_path / "output" / "pictures").mkdir(parents=True)
    (tmp_path / "output" / "pictures" / "inner").touch()
    with pytest.raises(WriteError, match=r"inner.b\.jpg could not be written"):
        predict(folder)


def test_ctrl_c_leaves_a_playable_video_and_what_was_predicted(predict, clip, monkeypatch):
    calls = []

    def outputs(self, samples):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, samples)

    original = Network.outputs
    monkeypatch.setattr(Network, "outputs", outputs)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        status, output = predict(clip)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    capture = cv2.VideoCapture(str(output / "clip.webm"))
    assert sum(capture.read()[0] for _ in range(9)) == 2
    content = json.loads((output / "predictions.json").read_text())
    assert (len(content["frames"]), content["finished"]) == (2, False)
    assert len(json.loads((output / "instance.json").read_text())["images"]) == 2


def test_earlier_predictions_are_written_over_only_if_asked(predict, folder):
    assert predict(folder)[0] == 0
    with pytest.raises(PredictionError, match="--overwrite"):
        predict(folder)
    assert predict(folder, "--overwrite", "--frames", "1")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tasks", "semantic/lane"), "no task 'semantic/lane'; it has detection, instance"),
        (("--batch", "0"), "--batch must be at least 1"),
        (("--score-threshold", "2"), r"in \[0, 1\]"),
        (("--depth-factor", "0"), "> 0"),
        (("--depth-factor", "inf"), "finite"),
    ],
    ids=["task", "batch", "threshold", "factor", "endless factor"],
)
def test_wrong_options_are_said_in_a_line(predict, folder, words, said):
    with pytest.raises(PredictionError, match=said):
        predict(folder, *words)


def test_an_output_that_is_a_file_is_refused(predict, folder, tmp_path):
    (tmp_path / "output").touch()
    with pytest.raises(PredictionError, match="is a file"):
        predict(folder)


def test_runs_that_cannot_predict_are_said_in_a_line(run, folder, tmp_path):
    def call(where, *words):
        tool.main(tool.parse(["--run", str(where), "--input", str(folder), "--output", str(tmp_path / "o"), *words]))

    with pytest.raises(PredictionError, match=r"has no config\.yaml"):
        call(tmp_path)
    with pytest.raises(PredictionError, match="--device"):
        call(run, "--device", "cuda:99")
    with pytest.raises(PredictionError, match=r"model_best\.pth is not there"):
        call(run, "--weights", "best")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text(re.sub(r"NUM_CLASSES: 19", "NUM_CLASSES: 18", (run / "config.yaml").read_text()))
    with pytest.raises(PredictionError, match=r"no weights \(\*\.pth\)"):
        call(other)
    with pytest.raises(CheckpointError, match="not those of the whole model"):
        call(other, "--weights", str(run / run_folder.FILES["final"]))


def test_the_example_of_the_documentation_runs(run, folder, tmp_path, monkeypatch):
    text = (REPOSITORY / "docs" / "prediction.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(list(filter(None, example.splitlines()))) == 3
    (tmp_path / "output" / "demo").mkdir(parents=True)
    (tmp_path / "output" / "demo" / "mclgs").symlink_to(run)
    (tmp_path / "street.jpg").symlink_to(folder / "a.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "docs/prediction.md", "exec"), names)  # noqa: S102
    assert names["prediction"]["semantic"].ids.shape == (60, 101)
