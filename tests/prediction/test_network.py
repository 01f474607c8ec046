import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image
from small_inputs import THINGS

from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.data import register_all
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.highest import highest_class
from mtl_d2.prediction.images import as_rgb
from mtl_d2.prediction.layout import Artist
from mtl_d2.prediction.network import load
from mtl_d2.prediction.run_folder import find_weights
from mtl_d2.tasks.registry import kind_of

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")


def test_results_are_in_the_pixels_of_the_image_that_was_given(network, image):
    prediction = network(image)
    assert list(prediction) == ["detection", "instance", "semantic", "depth", "normals"]
    objects = prediction["detection"]
    assert prediction["instance"] is objects
    assert len(objects) > 0
    assert (objects.boxes >= 0).all()
    assert (objects.boxes <= (101, 60, 101, 60)).all()
    assert (np.diff(objects.scores) <= 0).all()
    assert objects.masks.shape == (len(objects), 60, 101)
    assert prediction["semantic"].ids.shape == (60, 101)
    assert prediction["depth"].values.shape == (60, 101)
    assert prediction["depth"].unit == "metres"
    np.testing.assert_allclose(np.linalg.norm(prediction["normals"].vectors, axis=-1), 1, atol=1e-5)


def test_outputs_are_those_of_an_evaluation(network, image, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image[..., ::-1])
    sample = MultiTaskMapper(network.cfg, False)({"file_name": str(path), "height": 60, "width": 101})
    ours = network.sample(image)
    torch.testing.assert_close(ours["image"], sample["image"], rtol=0, atol=0)
    with torch.no_grad():
        expected = network.model([sample])[0]
    prediction = network(image)
    np.testing.assert_array_equal(prediction["depth"].values, expected["depth"].numpy())
    np.testing.assert_array_equal(prediction["semantic"].ids, expected["sem_seg"].argmax(0).numpy())
    np.testing.assert_array_equal(prediction["detection"].boxes, expected["instances"].pred_boxes.tensor.numpy())


def test_names_of_classes_are_those_of_the_checkpoint(network, image):
    assert network.classes["instance"] == tuple(THINGS)
    assert network.metadata["instance"].thing_classes == THINGS
    objects = network(image)["instance"]
    assert objects.names == [THINGS[k] for k in objects.class_ids]


def test_forms_of_an_image_are_one_image(network, image, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    depth = network(image)["depth"].values
    for other in (str(tmp_path / "image.png"), tmp_path / "image.png", Image.fromarray(image), torch.from_numpy(image)):
        np.testing.assert_array_equal(network(other)["depth"].values, depth)
    np.testing.assert_array_equal(network(image[..., ::-1], "BGR")["depth"].values, depth)
    several = network([image, image[:40]], batch=2)
    assert [one["depth"].values.shape for one in several] == [(60, 101), (40, 101)]
    assert np.abs(network(np.ascontiguousarray(image[..., ::-1]))["depth"].values - depth).max() > 0


def test_grey_deep_and_transparent_images_are_read_by_what_is_seen(tmp_path):
    grey = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)
    expected = np.repeat(grey[..., None], 3, axis=2)
    transparent = np.concatenate([expected, np.full((4, 13, 1), 9, np.uint8)], axis=2)
    for given in (grey, grey[..., None], grey.astype(np.uint16) * 257, expected, transparent):
        np.testing.assert_array_equal(as_rgb(given), expected)
    for name, given in (("grey", grey), ("deep", grey.astype(np.uint16) * 257), ("transparent", transparent)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), given)
        np.testing.assert_array_equal(as_rgb(tmp_path / f"{name}.png"), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3)), "255"),
        (np.zeros((3, 8, 8), np.uint8), "transpose"),
        (np.zeros((2, 8, 8, 3), np.uint8), "list of images"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    ],
    ids=["floats", "planes", "batch", "empty"],
)
def test_what_is_no_image_is_refused_with_advice(given, said):
    with pytest.raises(PredictionError, match=said):
        as_rgb(given)


def test_pillows_deep_images_are_those_of_their_files(tmp_path):
    levels = np.array([[0, 257, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), levels)
    np.testing.assert_array_equal(as_rgb(Image.open(tmp_path / "deep.png"))[..., 0], [[0, 1, 255]])
    np.testing.assert_array_equal(as_rgb(Image.fromarray(levels.astype(">u2")))[..., 0], [[0, 1, 255]])
    with pytest.raises(PredictionError, match="float32"):
        as_rgb(Image.fromarray(levels.astype(np.float32)))


def test_an_unknown_order_of_channels_is_refused():
    with pytest.raises(PredictionError, match="'RGB' or 'BGR'"):
        as_rgb(np.zeros((4, 4, 3), np.uint8), "GBR")


def test_objects_below_the_threshold_are_left_out(network, image):
    kind, metadata = kind_of("instance"), network.metadata["instance"]
    output = network.outputs([network.sample(image)])[0]["instances"]
    middle = float(output.scores.median())
    kept = kind.result(output, metadata, middle)
    assert 0 < len(kept) < len(output)
    assert (kept.scores >= middle).all()


@pytest.mark.parametrize("classes", [1, 2, 19, 256])
def test_highest_class_is_the_first_of_the_highest_scores(classes):
    scores = torch.randint(-3, 3, (classes, 130, 17), generator=torch.Generator().manual_seed(classes)).float()
    np.testing.assert_array_equal(highest_class(scores), scores.numpy().argmax(0))


@pytest.mark.parametrize("size", [(1, 1), (65, 1), (4, 1), (2, 3)])
def test_highest_class_of_narrow_maps(size):
    scores = torch.randn(19, *size, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(highest_class(scores), scores.numpy().argmax(0))


def test_half_precision_is_near(run, network, image):
    half = load(run, score_threshold=0.0, half=True)(image)
    assert half["depth"].values.dtype == np.float32
    np.testing.assert_allclose(half["depth"].values, network(image)["depth"].values, rtol=0.1)


def test_weights_are_found_by_word_name_and_path(tmp_path):
    for name in ("model_best.pth", "model_final.pth", "model_0001.pth"):
        (tmp_path / name).touch()
    assert find_weights(tmp_path).name == "model_best.pth"
    assert find_weights(tmp_path, selected=False).name == "model_final.pth"
    assert find_weights(tmp_path, "final").name == "model_final.pth"
    assert find_weights(tmp_path, "model_0001.pth").name == "model_0001.pth"
    assert find_weights(tmp_path, tmp_path / "model_0001.pth").name == "model_0001.pth"
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0001.pth")
    assert find_weights(tmp_path, selected=False).name == "model_0001.pth"
    with pytest.raises(PredictionError, match=r"model_final\.pth is not there"):
        find_weights(tmp_path, "final")


def test_importing_the_package_is_cheap_and_load_is_its():
    code = "import sys, mtl_d2; assert not {'torch', 'numpy', 'cv2'} & set(sys.modules); assert 'load' in dir(mtl_d2)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import mtl_d2

    assert mtl_d2.load is load
    with pytest.raises(AttributeError, match="laod"):
        _ = mtl_d2.laod


def test_a_classifier_of_digits_takes_images_of_any_size(tmp_path):
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, str(REPOSITORY / "configs" / "multi_mnist_equal.yaml"), ["MODEL.DEVICE", "cpu"])
    torch.save({"model": MultiTaskTrainer.build_model(cfg).state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    network = load(tmp_path)
    digits = np.random.default_rng(0).integers(0, 256, (36, 36)).astype(np.uint8)
    with torch.no_grad():
        expected = network.model([{"image": torch.from_numpy(digits)[None]}])[0]
    prediction = network(digits)
    assert {task: answer.class_id for task, answer in prediction.items()} == expected
    assert prediction["class_left"].name
    large = digits.repeat(2, 0).repeat(2, 1)
    assert network(large)["class_left"].class_id == expected["class_left"]
    assert Artist(network, network.tasks).draw(as_rgb(large), prediction).shape[2] == 3
