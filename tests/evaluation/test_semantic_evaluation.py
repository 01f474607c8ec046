"""Mean IoU by each data set's convention: values worked out by hand, and what is wrong with maps and predictions."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

from mtl_d2.data import DataError, register_all
from mtl_d2.engine.launch import leave_groups
from mtl_d2.evaluation.definitions import definition
from mtl_d2.evaluation.semantic import class_ids, semantic_evaluator
from mtl_d2.evaluation.semantic_scores import CONVENTIONS, confusion_matrix

NAME = "odd_maps"
ROAD, CAR, SKY, BUS = range(4)
IGNORED = 255


@pytest.fixture
def data_set(tmp_path):
    """Registers label maps under NAME; the metadata is given by keywords."""

    def register(*maps, keys=(), **metadata):
        records = [record(tmp_path, i, pixels, **dict(keys)) for i, pixels in enumerate(maps)]
        DatasetCatalog.register(NAME, lambda: records)
        MetadataCatalog.get(NAME).set(
            **{"stuff_classes": ["road", "car", "sky", "bus"], "ignore_label": IGNORED, **metadata}
        )
        return records

    yield register
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def record(folder, i, pixels, **keys):
    path = folder / f"{i}.png"
    assert cv2.imwrite(str(path), np.asarray(pixels, np.uint8))
    return {"file_name": f"{i}.jpg", "sem_seg_file_name": str(path), **keys}


def evaluate(records, predictions, folder):
    evaluator = semantic_evaluator(NAME, folder)
    evaluator.reset()
    for given, prediction in zip(records, predictions, strict=True):
        evaluator.process([given], [{"sem_seg": prediction} if prediction is not None else {}])
    return evaluator.evaluate()["sem_seg"]


def one_hot(ids, classes=4):
    return (torch.arange(classes)[:, None, None] == torch.as_tensor(ids)).float()


@pytest.mark.parametrize(
    ("convention", "mean"), [("bdd100k", 90), ("detectron2", 90), (None, 90), ("cityscapes", 67.5)]
)
def test_a_class_only_predicted_counts_by_the_data_sets_convention(data_set, tmp_path, convention, mean):
    truth = np.repeat([[ROAD], [CAR], [SKY]], 10, axis=1)
    records = data_set(truth, **({"semantic_convention": convention} if convention else {}))
    said = truth.copy()
    said[:, 0] = BUS
    metrics = evaluate(records, [one_hot(said)], tmp_path)
    assert metrics["mIoU"] == pytest.approx(mean)
    assert metrics["fwIoU"] == metrics["mACC"] == metrics["pACC"] == metrics["IoU-sky"] == pytest.approx(90)
    assert metrics["IoU-bus"] == 0 if convention == "cityscapes" else math.isnan(metrics["IoU-bus"])
    assert math.isnan(metrics["ACC-bus"])


def test_values_worked_out_by_hand(data_set, tmp_path):
    records = data_set([[ROAD, ROAD, CAR, CAR], [ROAD, IGNORED, IGNORED, SKY]])
    metrics = evaluate(records, [one_hot([[ROAD, CAR, CAR, SKY], [ROAD, CAR, BUS, SKY]])], tmp_path)
    assert [metrics[f"IoU-{name}"] for name in ("road", "car", "sky")] == pytest.approx([200 / 3, 100 / 3, 50])
    assert [metrics[f"ACC-{name}"] for name in ("road", "car", "sky")] == pytest.approx([200 / 3, 50, 100])
    assert metrics["mIoU"] == pytest.approx(50)
    assert metrics["fwIoU"] == pytest.approx((3 * 200 / 3 + 2 * 100 / 3 + 50) / 6)
    assert metrics["mACC"] == pytest.approx((200 / 3 + 50 + 100) / 3)
    assert metrics["pACC"] == pytest.approx(100 * 4 / 6)
    with open(tmp_path / "semantic_confusion.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["road", "2", "1", "0", "0", "0"]
    assert rows[2] == ["car", "0", "1", "1", "0", "0"]


def test_names_order_and_values_are_detectron2s_where_all_classes_occur(data_set, tmp_path):
    random = np.random.default_rng(0)
    maps = [random.choice([ROAD, CAR, SKY, BUS, IGNORED], (9, 11)) for _ in range(3)]
    records = data_set(*maps)
    scores = [torch.as_tensor(random.normal(size=(4, 9, 11))) for _ in maps]
    theirs = SemSegEvaluator(NAME, distributed=False)
    theirs.reset()
    theirs.process(records, [{"sem_seg": s} for s in scores])
    expected = theirs.evaluate()["sem_seg"]
    found = evaluate(records, scores, tmp_path)
    assert list(found) == [name for name in expected if "oundary" not in name and "B-Iou" not in name]  # of its main
    assert found == pytest.approx({name: expected[name] for name in found})


def test_nothing_predicted_is_zero_where_there_is_truth(data_set, tmp_path):
    records = data_set([[ROAD, CAR]])
    metrics = evaluate(records, [None], tmp_path)
    assert [metrics[k] for k in ("mIoU", "fwIoU", "mACC", "pACC", "IoU-road", "ACC-car")] == [0] * 6
    assert math.isnan(metrics["IoU-sky"])
    metrics = evaluate([], [], tmp_path)
    assert [metrics[k] for k in ("mIoU", "fwIoU", "mACC", "pACC")] == [0] * 4


def test_ids_are_taken_as_scores_are_and_what_is_no_class_is_wrong(data_set, tmp_path):
    truth = [[ROAD, CAR], [SKY, IGNORED]]
    records = data_set(truth)
    said = torch.tensor([[ROAD, CAR], [CAR, BUS]])
    by_scores = evaluate(records, [one_hot(said)], tmp_path)
    assert evaluate(records, [said], tmp_path) == pytest.approx(by_scores, nan_ok=True)
    assert evaluate(records, [torch.tensor(truth, dtype=torch.uint8)], tmp_path)["mIoU"] == pytest.approx(100)
    metrics = evaluate(records, [torch.tensor([[ROAD, -1], [4, 0]])], tmp_path)
    assert [metrics[f"IoU-{name}"] for name in ("road", "car", "sky")] == [100, 0, 0]


def test_values_of_files_go_through_the_records_table_and_its_ignored_id(data_set, tmp_path):
    table = bytearray([7]) * 256
    table[100], table[200] = CAR, SKY
    records = data_set([[100, 200, 3]], keys={"sem_seg_table": bytes(table), "ignore_label": 7})
    metrics = evaluate(records, [one_hot([[CAR, SKY, ROAD]])], tmp_path)
    assert metrics["mIoU"] == pytest.approx(100)


def test_an_ignored_id_that_is_a_classs_leaves_the_class_out(data_set, tmp_path):
    records = data_set([[ROAD, CAR, SKY]], ignore_label=ROAD)
    assert evaluate(records, [one_hot([[CAR, CAR, SKY]])], tmp_path)["mIoU"] == pytest.approx(100)


def test_ids_that_are_no_class_are_refused_and_all_files_named(data_set, tmp_path):
    records = data_set([[ROAD, CAR]], [[ROAD, 4]], [[9, CAR]])
    evaluator = semantic_evaluator(NAME, tmp_path)
    for given in records:  # a prediction of road everywhere must not make pixels of another class right
        evaluator.process([given], [{"sem_seg": one_hot([[ROAD, ROAD]])}])
    with pytest.raises(DataError, match=r"(?s)1\.png: holds the ids \[4\].*2\.png: holds the ids \[9\]"):
        evaluator.evaluate()
    evaluator.reset()
    evaluator.process(records[:1], [{"sem_seg": one_hot([[ROAD, ROAD]])}])
    assert evaluator.evaluate()["sem_seg"]["IoU-car"] == 0


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (torch.zeros(4, 2, 3), r"0\.png: size \(1, 2\) .*0\.jpg has \(2, 3\)"),
        (
            torch.zeros(3, 1, 2),
            r"0\.jpg: its prediction has shape \(3, 1, 2\).*4 classes take scores \(4, ",
        ),
        (torch.zeros(1, 2), r"0\.jpg: .*float32, but 4 classes take .*integer ids"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_with_both_files(data_set, tmp_path, prediction, said):
    with pytest.raises(DataError, match=said):
        evaluate(data_set([[ROAD, CAR]]), [prediction], tmp_path)


def test_images_without_a_map_are_passed_over_and_those_of_no_record_refused(data_set, tmp_path):
    records = data_set([[ROAD, CAR]])
    records.append({"file_name": "boxes.jpg", "annotations": []})
    right = one_hot([[ROAD, CAR]])
    assert evaluate(records, [right, right], tmp_path)["mIoU"] == pytest.approx(100)
    with pytest.raises(DataError, match=r"other\.jpg: no image of odd_maps"):
        evaluate([{"file_name": "other.jpg"}], [right], tmp_path)


def test_metadata_that_say_too_little_are_told_when_the_evaluator_is_made(data_set, tmp_path):
    data_set([[ROAD]], semantic_convention="mine")
    with pytest.raises(DataError, match=r"semantic_convention 'mine'.* none of 'bdd100k', 'cityscapes', 'detectron2'"):
        semantic_evaluator(NAME, tmp_path)
    MetadataCatalog.remove(NAME)
    with pytest.raises(DataError, match="no `stuff_classes`"):
        semantic_evaluator(NAME, tmp_path)


def test_of_equal_scores_the_first_class_is_taken_and_nan_is_highest():
    random = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float16, torch.uint8, torch.bool):
        scores = torch.randint(0, 3, (19, 50, 60), generator=random).to(dtype)
        if dtype.is_floating_point:
            scores[5, 3] = math.nan
        expected = scores.to(torch.float32).argmax(dim=0)
        assert (class_ids(scores, 19, "") == expected.numpy()).all()


TASKS = ("detection", "instance", "semantic", "class_left")


def test_each_number_says_whose_definition_it_follows(data_set, tmp_path):
    register_all(str(tmp_path))
    data_set([[ROAD]])
    assert definition(TASKS, "bdd100k_sem_seg_val", "sem_seg") == CONVENTIONS["bdd100k"].definition
    assert definition(TASKS, "cityscapes_val", "sem_seg") == CONVENTIONS["cityscapes"].definition
    assert definition(TASKS, NAME, "sem_seg") == CONVENTIONS["detectron2"].definition
    boxes, masks = (definition(TASKS, "cityscapes_val", group) for group in ("bbox", "segm"))
    assert "pycocotools" in boxes
    assert "cityscapesscripts" in masks
    assert "pycocotools" in definition(TASKS, NAME, "segm")
    assert definition(TASKS, "multi_mnist_val", "accuracy") == ""


def evaluate_on(rank, folder):
    from detectron2.utils import comm

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    records, predictions = torch.load(f"{folder}/inputs.pt", weights_only=False)
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(stuff_classes=["road", "car", "sky", "bus"], ignore_label=IGNORED)
    found = []
    # The second process sees one image of three; then none; then one that does not fit.
    for mine in ([[0, 1], [2]][rank], [[0, 1, 2], []][rank], [[0], [3]][rank]):
        evaluator = semantic_evaluator(NAME, Path(folder))
        for i in mine:
            evaluator.process([records[i]], [{"sem_seg": predictions[i]}])
        try:
            found.append(evaluator.evaluate())
        except DataError as error:
            found.append(str(error))
    torch.save(found, f"{folder}/{rank}.pt")
    leave_groups()


def test_two_processes_evaluate_as_one_does_and_both_know_what_is_wrong(data_set, tmp_path):
    random = np.random.default_rng(0)
    maps = [random.choice([ROAD, CAR, SKY, IGNORED], (9, 11)) for _ in range(3)]
    records = data_set(*maps, np.full((2, 2), 9))
    predictions = [torch.as_tensor(random.normal(size=(4, *pixels.shape))) for pixels in maps] + [torch.zeros(4, 2, 2)]
    torch.save((records, predictions), tmp_path / "inputs.pt")
    torch.multiprocessing.spawn(evaluate_on, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    alone = evaluate(records[:3], predictions[:3], tmp_path)
    assert first[0]["sem_seg"] == pytest.approx(alone, nan_ok=True)
    assert first[1]["sem_seg"] == pytest.approx(alone, nan_ok=True)
    assert second[:2] == [None, None]
    assert first[2] == second[2]
    assert "3.png: holds the ids [9]" in first[2]


@pytest.mark.parametrize("ignored", [IGNORED, 2, -1])
@pytest.mark.parametrize("classes", [1, 3, 255, 300])
def test_ids_of_eight_bits_are_counted_as_any_others(classes, ignored):
    rng = np.random.default_rng(classes)
    truth = rng.integers(classes, size=(9, 13)).astype(np.uint8)
    truth[0] = ignored if ignored in range(256) else truth[0]
    predicted = rng.integers(256, size=truth.shape).astype(np.uint8)
    matrix = confusion_matrix(truth, predicted, classes, ignored)
    expected = np.zeros((classes, classes + 1), int)
    for of_truth, of_prediction in zip(truth.flat, predicted.flat, strict=True):
        if of_truth != ignored:
            expected[of_truth, min(of_prediction, classes)] += 1
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted.astype(int), classes, ignored), expected)
