"""Metrics of depth and normals: by hand, against all pixels at once in float64, by image, and over processes."""

import math

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from mtl_d2.data import DataError
from mtl_d2.evaluation import dense
from mtl_d2.evaluation.dense import AVERAGES, DenseEvaluator, DenseLabels
from mtl_d2.evaluation.depth import METRICS as DEPTH
from mtl_d2.evaluation.depth import DepthScores
from mtl_d2.evaluation.normals import METRICS as NORMALS
from mtl_d2.evaluation.normals import NormalsScores


def evaluator(scores, truths, average="pixels"):
    """Of images 0.jpg, 1.jpg, ..., whose labels are ``truths``; None = the image has none."""
    records = [
        {"file_name": f"{i}.jpg", **({"file": f"{i}.npy"} if t is not None else {})} for i, t in enumerate(truths)
    ]
    read = lambda record: truths[int(record["file"][:-4])]  # noqa: E731
    return DenseEvaluator(DenseLabels("rooms", records, "file", "said", "dense", read), AVERAGES[average](scores))


def measured(scores, predictions, truths, average="pixels"):
    one = evaluator(scores, truths, average)
    for i, prediction in enumerate(predictions):
        one.process([{"file_name": f"{i}.jpg"}], [{"said": torch.as_tensor(prediction)}])
    return one.evaluate()["dense"]


def depths(seed=0, images=3):
    """Predictions and truths of several sizes, with holes."""
    random = np.random.default_rng(seed)
    truths = [
        random.uniform(0.5, 9, (20 + i, 31)) * (random.random((20 + i, 31)) < 0.3 * (i + 1)) for i in range(images)
    ]
    return [t * random.uniform(0.6, 1.7, t.shape) + random.normal(0, 0.2, t.shape) for t in truths], truths


def test_depth_by_hand():
    found = measured(DepthScores(), [[[1.0, 3, 8, 9]]], [np.array([[2.0, 3, 5, 0]])])
    assert found["abs_err"] == pytest.approx((1 + 0 + 3) / 3)
    assert found["rel_err"] == pytest.approx((1 / 2 + 0 + 3 / 5) / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(10 / 3))
    assert found["rmse_log"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(1.6) ** 2) / 3))
    assert [found[f"delta_1.25{p}"] for p in ("", "^2", "^3")] == pytest.approx([100 / 3, 100 / 3, 200 / 3])


def test_normals_by_hand():
    a = math.radians(20)
    prediction = np.array([[[0, 0, -2], [math.sin(a), 0, -math.cos(a)], [0, 3, 0], [0, 0, 5], [1, 0, 0]]], float)
    truth = np.array([[[0, 0, -1], [0, 0, -1], [0, 0, -1], [0, 0, -1], [0, 0, 0]]], float)
    found = measured(NormalsScores(), [np.moveaxis(prediction, -1, 0)], [truth])
    assert found["mean_angle"] == pytest.approx((0 + 20 + 90 + 180) / 4)
    assert found["median_angle"] == pytest.approx(55, abs=0.01)
    assert found["rmse_angle"] == pytest.approx(math.sqrt((20**2 + 90**2 + 180**2) / 4))
    assert found["one_minus_cos"] == pytest.approx((0 + 1 - math.cos(a) + 1 + 2) / 4)
    assert [found[f"within_{d}"] for d in ("11.25", "22.5", "30")] == [25, 50, 50]


def test_sums_over_images_are_means_over_all_pixels():
    predictions, truths = depths()
    p, t = (
        np.concatenate([one[truth > 0] for one, truth in zip(of, truths, strict=True)]) for of in (predictions, truths)
    )
    found = measured(DepthScores(), predictions, truths)
    ratio = np.maximum(np.maximum(p, 1e-6) / t, t / np.maximum(p, 1e-6))
    expected = {
        "abs_err": np.abs(p - t).mean(),
        "rel_err": (np.abs(p - t) / t).mean(),
        "rmse": np.sqrt(((p - t) ** 2).mean()),
        "rmse_log": np.sqrt(((np.log(np.maximum(p, 1e-6)) - np.log(t)) ** 2).mean()),
        **{f"delta_1.25{p}": 100 * (ratio < 1.25**k).mean() for k, p in ((1, ""), (2, "^2"), (3, "^3"))},
    }
    assert found == pytest.approx(expected, rel=1e-12)


def normals(seed=0, images=3):
    random = np.random.default_rng(seed)
    truths, predictions = [], []
    for i in range(images):
        t = random.normal(size=(20 + i, 30, 3))
        t = t / np.linalg.norm(t, axis=-1, keepdims=True) * (random.random((20 + i, 30, 1)) < 0.3 * (i + 1))
        truths.append(t)
        predictions.append(np.moveaxis(t + random.normal(0, 0.1 + 0.2 * i, t.shape), -1, 0))
    return predictions, truths


def angles(predictions, truths):
    rows = [(np.moveaxis(p, 0, -1)[t.any(-1)], t[t.any(-1)]) for p, t in zip(predictions, truths, strict=True)]
    p, t = (np.concatenate(part) for part in zip(*rows, strict=True))
    return np.degrees(np.arccos((p * t).sum(-1) / np.linalg.norm(p, axis=-1)))


@pytest.mark.parametrize("seed", range(4))
def test_angles_are_those_of_all_pixels_and_the_median_within_its_bound(seed):
    predictions, truths = normals(seed)
    found, exact = measured(NormalsScores(), predictions, truths), angles(predictions, truths)
    assert found["mean_angle"] == pytest.approx(exact.mean(), rel=1e-9)
    assert found["rmse_angle"] == pytest.approx(np.sqrt((exact**2).mean()), rel=1e-9)
    assert abs(found["median_angle"] - np.median(exact)) < 0.01
    for limit in (11.25, 22.5, 30):
        assert found[f"within_{limit:g}"] == pytest.approx(100 * (exact < limit).mean(), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 101])
def test_the_median_of_few_pixels(count):
    random = np.random.default_rng(count)
    exact = np.concatenate([random.uniform(0, 180, count - 1), [180.0]])
    prediction = np.stack([np.sin(np.radians(exact)), 0 * exact, np.cos(np.radians(exact))])[:, None]
    truth = np.zeros((1, count, 3))
    truth[..., 2] = 1
    assert abs(measured(NormalsScores(), [prediction], [truth])["median_angle"] - np.median(exact)) <= 0.01


@pytest.mark.parametrize(
    ("scores", "made"), [(DepthScores(), depths), (NormalsScores(), normals)], ids=["depth", "normals"]
)
def test_means_over_images(scores, made):
    predictions, truths = made()
    each = [measured(scores, [p], [t]) for p, t in zip(predictions, truths, strict=True)]
    empty = np.zeros_like(truths[0])
    found = measured(scores, [*predictions, predictions[0]], [*truths, empty], "images")
    assert found == pytest.approx({name: np.mean([one[name] for one in each]) for name in scores.names})
    assert found != pytest.approx(measured(scores, predictions, truths))


@pytest.mark.parametrize(
    ("scores", "made"), [(DepthScores(), depths), (NormalsScores(), normals)], ids=["depth", "normals"]
)
def test_the_truth_is_perfect(scores, made):
    _, truths = made()
    shown = [np.moveaxis(t, -1, 0) if t.ndim == 3 else t for t in truths]
    shown, truths = ([one.astype(np.float32) for one in maps] for maps in (shown, truths))
    for average in AVERAGES:
        for name, value in measured(scores, shown, truths, average).items():
            assert value == (100 if {**DEPTH, **NORMALS}[name] else pytest.approx(0, abs=0.01))


def test_a_range_leaves_out_truths_and_clips_predictions():
    prediction, truth = [[1.0, -3, 99, 4]], np.array([[0.0005, 2, 9, 11]])
    found = measured(DepthScores(0.001, 10), [prediction], [truth])
    assert found["abs_err"] == pytest.approx((1.999 + 1) / 2)


def test_a_prediction_that_is_not_finite_is_not_left_out():
    prediction = np.ones((4, 4))
    prediction[0, 0] = np.nan
    assert math.isnan(measured(DepthScores(), [prediction], [np.ones((4, 4))])["abs_err"])
    found = measured(NormalsScores(), [np.full((3, 2, 2), np.nan)], [np.ones((2, 2, 3))])
    assert math.isnan(found["mean_angle"])
    assert found["within_30"] == 0


@pytest.mark.parametrize("average", AVERAGES)
def test_nothing_labelled_is_nan(average):
    found = measured(DepthScores(), [np.ones((2, 2))], [np.zeros((2, 2))], average)
    assert set(found) == set(DEPTH)
    assert all(map(math.isnan, found.values()))
    assert all(map(math.isnan, evaluator(DepthScores(), [None], average).evaluate()["dense"].values()))


def test_two_processes_have_the_metrics_of_one(monkeypatch):
    predictions, truths = normals()
    whole = measured(NormalsScores(), predictions, truths)
    parts = []
    monkeypatch.setattr(dense.comm, "all_gather", lambda part: parts.append(part) or [part])
    for own in ([0], [1, 2]):
        one = evaluator(NormalsScores(), truths)
        for i in own:
            one.process([{"file_name": f"{i}.jpg"}], [{"said": torch.as_tensor(predictions[i])}])
        one.evaluate()
    monkeypatch.setattr(dense.comm, "all_gather", lambda part: parts)
    assert one.evaluate()["dense"] == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert one.evaluate() is None


def test_mistakes_are_raised_in_the_end_and_images_without_a_label_passed_over():
    one = evaluator(DepthScores(), [np.ones((4, 5)), np.ones((4, 5)), None])
    names = ["0.jpg", "1.jpg", "2.jpg", "other.jpg"]
    outputs = [{"said": torch.ones(5, 4)}, {}, {"said": torch.ones(9, 9)}, {"said": torch.ones(4, 5)}]
    one.process([{"file_name": name} for name in names], outputs)
    with pytest.raises(DataError) as error:
        one.evaluate()
    sizes, missing, unknown = str(error.value).splitlines()
    assert sizes.startswith("0.npy: size (4, 5) (height, width), but the prediction for its image 0.jpg has (5, 4)")
    assert missing == "1.jpg: the model has predicted no `said` for it"
    assert unknown.startswith("other.jpg: no image of rooms")
