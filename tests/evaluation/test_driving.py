"""Vehicles as one class, drivable area and lanes, on a tiny BDD100K whose val has a car in 5 of 6 images."""

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from tiny_bdd100k import DETECTION, HEIGHT, WIDTH, rectangle, write_json, write_tiny_bdd100k

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, register_all
from mtl_d2.data.datasets.bdd100k_classes import CATEGORY_ID
from mtl_d2.evaluation.definitions import definition
from mtl_d2.evaluation.delta import direction
from mtl_d2.evaluation.driving import DEFINITION, DRIVING, HIGHER, DrivingEvaluator, background_and_marked
from mtl_d2.evaluation.rehearsal import rehearse
from mtl_d2.evaluation.tools import tools_of

NAME = "bdd100k_det_drivable_lane_val"
TASKS = ("detection", "semantic/drivable", "semantic/lane")
CARS = DETECTION - 1
LANE, NO_LANE = 0, 1
LANES = HEIGHT // 2 + WIDTH // 2  # pixels: half a column and half a row


@pytest.fixture
def root(tmp_path):
    write_tiny_bdd100k(tmp_path)
    register_all(str(tmp_path))
    return tmp_path


def evaluated(outputs, tasks=TASKS, **options):
    evaluator = DrivingEvaluator(NAME, tasks, None)
    evaluator.process(DatasetCatalog.get(NAME), outputs)
    return evaluator.evaluate(**options)["driving"]


def objects(*found):
    """Predictions (box, class, score)."""
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_boxes = Boxes(torch.tensor([box for box, _, _ in found]).reshape(-1, 4).float())
    instances.pred_classes = torch.tensor([CATEGORY_ID[name] for _, name, _ in found], dtype=torch.long)
    instances.scores = torch.tensor([score for _, _, score in found])
    return {"instances": instances}


def car_box(i):
    x1, y1, x2, y2 = rectangle(i)
    return [x1, y1, x2 + 1, y2 + 1]


def of_vehicles(outputs, **options):
    found = evaluated(outputs, ("detection",), **options)
    assert found.keys() == {"recall", "AP50"}
    return [found["recall"], found["AP50"]]


def of_pixels(name, ids):
    return evaluated([{f"sem_seg/{name}": ids}] * DETECTION, (f"semantic/{name}",))


def test_the_truth_gets_100(root):
    drivable = torch.full((HEIGHT, WIDTH), 2)
    drivable[HEIGHT // 2 :] = torch.arange(WIDTH) // (WIDTH // 2)
    lane = torch.full((HEIGHT, WIDTH), NO_LANE)
    lane[HEIGHT // 2 :, WIDTH // 2] = lane[HEIGHT // 2, : WIDTH // 2] = LANE
    scores = torch.nn.functional.one_hot(lane, 2).permute(2, 0, 1)
    pixels = {"sem_seg/drivable": drivable, "sem_seg/lane": scores}
    cars = [objects((car_box(i), "car", 0.9)) for i in range(CARS)]
    found = evaluated([{**car, **pixels} for car in [*cars, objects()]])
    assert found == {
        name: pytest.approx(100)
        for name in ("recall", "AP50", "drivable_mIoU", "lane_accuracy", "lane_balanced_accuracy", "lane_IoU")
    }


def test_three_of_five_cars_are_60_percent_of_recall_and_61_of_101_points_of_precision(root):
    outputs = [objects((car_box(i), "car", 0.9)) if i < 3 else objects() for i in range(DETECTION)]
    assert of_vehicles(outputs) == pytest.approx([60, 100 * 61 / 101])


def test_recall_knows_no_score_and_precision_knows_their_order(root):
    """Each car is found below a false vehicle elsewhere: precision is 1/2 at best."""
    outputs = [objects(([60, 0, 70, 4], "car", 0.9), (car_box(i), "car", 0.001)) for i in range(CARS)] + [objects()]
    assert of_vehicles(outputs) == pytest.approx([100, 50])


def test_vehicles_are_one_class_and_other_classes_are_none(root):
    """A second vehicle on the same car would be false, and so would the rider."""
    names = ("car", "truck", "bus", "train", "car")
    outputs = [
        objects((car_box(i), name, 0.9 - 0.1 * i), (car_box(i), "car", 0.85 - 0.1 * i), ([60, 0, 70, 4], "rider", 0.9))
        for i, name in enumerate(names)
    ]
    assert of_vehicles([*outputs, objects()]) == pytest.approx([100, 100])


def test_trucks_are_found_by_cars_and_riders_are_not_sought(root):
    corners = dict(zip(("x1", "y1", "x2", "y2"), rectangle(0), strict=True))
    other = {"x1": 60, "y1": 2, "x2": 70, "y2": 9}
    labels = [{"category": "truck", "box2d": corners}, {"category": "rider", "box2d": other}]
    write_json(root / "bdd100k/labels/det_20/det_val.json", [{"name": "det-val-0.jpg", "labels": labels}])
    outputs = [objects((car_box(0), "car", 0.9))] + [objects()] * CARS
    assert of_vehicles(outputs) == pytest.approx([100, 100])


def test_predictions_in_a_crowd_are_not_counted(root):
    frames = [
        {"name": f"det-val-{i}.jpg", "labels": [{"category": name, "box2d": {"x1": 9, "y1": 9, "x2": 40, "y2": 40}}]}
        for i, name in enumerate(("car", "other vehicle"))
    ]
    write_json(root / "bdd100k/labels/det_20/det_val.json", frames)
    outputs = [objects(([9, 9, 41, 41], "car", 0.5)), objects(([9, 9, 25, 41], "car", 0.9))] + [objects()] * 4
    assert of_vehicles(outputs) == pytest.approx([100, 100])


def test_nothing_predicted_is_0(root):
    assert set(evaluated([{}] * DETECTION).values()) == {0}


def test_without_a_vehicle_there_is_no_recall(root):
    assert np.isnan(of_vehicles([objects()] * DETECTION, img_ids=[f"det-val-{DETECTION - 1}"])).all()


def test_only_the_images_that_are_asked_for_count(root):
    outputs = [objects((car_box(0), "car", 0.9))] + [objects()] * CARS
    assert of_vehicles(outputs, img_ids=["det-val-0"]) == pytest.approx([100, 100])
    assert of_vehicles(outputs)[0] == pytest.approx(20)


def test_direct_and_alternative_are_one_drivable_area(root):
    swapped = torch.full((HEIGHT, WIDTH), 2)
    swapped[HEIGHT // 2 :] = 1 - torch.arange(WIDTH) // (WIDTH // 2)
    assert of_pixels("drivable", swapped) == {"drivable_mIoU": pytest.approx(100)}


def test_all_of_it_drivable_is_the_mean_of_one_half_and_nothing(root):
    assert of_pixels("drivable", torch.ones(HEIGHT, WIDTH, dtype=torch.long)) == {"drivable_mIoU": pytest.approx(25)}


def test_lanes_by_hand(root):
    """A whole column is predicted: its lower half is right, its upper half is not, and the row is missed."""
    predicted = torch.full((HEIGHT, WIDTH), NO_LANE)
    predicted[:, WIDTH // 2] = LANE
    right = false = HEIGHT // 2
    background = HEIGHT * WIDTH - LANES
    assert of_pixels("lane", predicted) == pytest.approx(
        {
            "lane_accuracy": 100 * right / LANES,
            "lane_balanced_accuracy": 50 * (right / LANES + (background - false) / background),
            "lane_IoU": 100 * right / (LANES + false),
        }
    )


def test_classes_are_gathered_into_background_and_the_rest():
    confusion = np.arange(12).reshape(3, 4)  # two classes, background, none
    merged = [[10, 8 + 9, 11], [2 + 6, 0 + 1 + 4 + 5, 3 + 7]]
    np.testing.assert_array_equal(background_and_marked(confusion, ("direct", "alternative", "background")), merged)


def test_images_without_a_map_are_passed_over(root):
    (root / "bdd100k/labels/lane/masks/val/det-val-0.png").unlink()
    truth = torch.full((HEIGHT, WIDTH), NO_LANE)
    truth[HEIGHT // 2 :, WIDTH // 2] = truth[HEIGHT // 2, : WIDTH // 2] = LANE
    wrong = torch.full((HEIGHT, WIDTH), LANE)
    found = evaluated([{"sem_seg/lane": wrong}] + [{"sem_seg/lane": truth}] * CARS, ("semantic/lane",))
    assert found["lane_IoU"] == pytest.approx(100)


def test_what_does_not_fit_is_said_together(root):
    small, scores = torch.zeros(4, 4, dtype=torch.long), torch.zeros(3, HEIGHT, WIDTH)
    evaluator = DrivingEvaluator(NAME, TASKS, None)
    evaluator.process(DatasetCatalog.get(NAME)[:1], [{"sem_seg/drivable": small, "sem_seg/lane": scores}])
    evaluator.process([{"file_name": "elsewhere.jpg"}], [{}])
    with pytest.raises(DataError) as e:
        evaluator.evaluate()
    first, second, third = str(e.value).splitlines()
    assert "drivable/masks/val/det-val-0.png: size (48, 80) (height, width), but the prediction" in first
    assert "2 classes take scores (2, height, width)" in second
    assert third == f"elsewhere.jpg: no image of {NAME}"


def test_driving_sets_are_evaluated_for_it_besides_their_own_metrics(root):
    tools = tools_of(NAME, DatasetCatalog.get(NAME), (*TASKS, "semantic/lane_style"))
    assert tools[DRIVING] == TASKS
    assert {task for tool, tasks in tools.items() if tool is not DRIVING for task in tasks} == {
        *TASKS,
        "semantic/lane_style",
    }
    assert definition(TASKS, NAME, "driving") == DEFINITION
    assert definition(TASKS, NAME, "bbox") != DEFINITION
    assert all(direction(f"driving/{metric}") for metric in HIGHER)


def test_other_sets_of_bdd100k_are_not(root):
    for name, task in (("bdd100k_det_val", "detection"), ("bdd100k_drivable_val", "semantic/drivable")):
        assert DRIVING not in tools_of(name, DatasetCatalog.get(name), (task,))


def test_the_truth_passes_the_rehearsal(root, tmp_path):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "MultiTaskFCOS", 10
    cfg.MTL.TASKS, cfg.OUTPUT_DIR = TASKS, str(tmp_path / "out")
    for name, number in (("drivable", 3), ("lane", 2)):
        cfg.MTL.TASK_OPTIONS[f"semantic/{name}"] = CfgNode({"NUM_CLASSES": number})
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("bdd100k_det_drivable_lane_train",), (NAME,)
    rehearse(cfg)
