"""Random damage to what a report is made of: it is written all the same, and says what it left out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import yaml
from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, BoxMode, Instances
from synthetic_run import CONFIG, RESULTS, rows

from mtl_d2.report.drawing import draw
from mtl_d2.report.objects import NO_AREA, NO_MASK, NOT_FINITE, UNREADABLE, read_objects
from mtl_d2.report.page import write_report

H, W = 48, 64
NAMES = Metadata(thing_classes=["car", "person"], stuff_classes=["road", "sky"])
IMAGE = np.full((H, W, 3), 90, dtype=np.uint8)
NUMBERS = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1e30, -5.0, 0.0, 0.5, 7.0, 30.0, 63.9, 64.0, 1e6]
SCALARS = sorted({name for row in rows(100) for name in row} - {"iteration"})
VALUES = [*NUMBERS, None, "x", "nan", True, [], {}, [1, 2], {"a": math.nan}, 10**400, -(10**30)]


def box(*corners, **more):
    return {"bbox": list(corners), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, **more}


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (box(10, 10, math.nan, 30), NOT_FINITE),
        (box(10, 10, math.inf, 30), NOT_FINITE),
        (box(30, 10, 10, 30), NO_AREA),
        (box(10, 10, 10, 30), NO_AREA),
        (box(100, 10, 120, 30), NO_AREA),
        (box(10, 10, 30), UNREADABLE),
        (box("a", 10, 30, 30), UNREADABLE),
        (box(10, 10, 30, 30, bbox=None), UNREADABLE),
        (box(10, 10, 30, 30, bbox_mode=77), UNREADABLE),
        ({"bbox": [1, 2, 3, 4]}, UNREADABLE),
        (box(10, 10, 30, 30, segmentation=[[1, 1, math.nan, 9, 9, 1]]), NO_MASK),
        (box(10, 10, 30, 30, segmentation=[[1, 1, 9, 9]]), NO_MASK),
        (box(10, 10, 30, 30, segmentation={"size": [2, 2], "counts": "04"}), NO_MASK),
        (box(10, 10, 30, 30, segmentation={"size": [H, W], "counts": "garbage"}), NO_MASK),
        (box(10, 10, 30, 30, segmentation=np.ones((H, W + 1))), NO_MASK),
        (box(10, 10, 30, 30, segmentation=7), NO_MASK),
    ],
)
def test_an_object_that_cannot_be_drawn_is_counted_and_the_others_are_drawn(annotation, reason):
    objects = read_objects([annotation, box(5, 5, 20, 20)], H, W)
    assert objects.left_out == {reason: 1}
    assert objects.drawn[-1].box == (5, 5, 20, 20)
    picture = draw(IMAGE, NAMES, NAMES, [annotation, box(5, 5, 20, 20)])
    assert picture.left_out == (f"1 object {reason}",)
    assert picture.classes == {"car"}


@pytest.mark.parametrize("segmentation", [None, [], {}, [[10, 10, 30, 10, 30, 30]], [[[10, 10], [30, 10], [30, 30]]]])
def test_a_mask_that_is_not_there_or_as_pairs_of_points_is_no_fault(segmentation):
    objects = read_objects([box(10, 10, 30, 30, segmentation=segmentation)], H, W)
    assert not objects.left_out
    assert (objects.drawn[0].mask is None) == (not segmentation)


def test_a_box_that_reaches_far_outside_is_drawn_along_the_border():
    assert read_objects([box(-1e30, 5, 1e30, 20)], H, W).drawn[0].box == (0, 5, W, 20)
    assert read_objects([box(5, 5, 20, 20, segmentation=[[-1e30, 5, 1e30, 5, 10, 20]])], H, W).drawn[0].mask.any()


def test_class_ids_without_a_name_are_drawn_as_numbers():
    picture = draw(IMAGE, NAMES, NAMES, [box(5, 5, 20, 20, category_id=k) for k in (-1, 1, 7)])
    assert picture.classes == {"-1", "person", "7"}


def test_a_segmentation_of_another_size_is_left_out():
    picture = draw(IMAGE, NAMES, NAMES, None, np.zeros((3, 3)))
    assert "another size" in picture.left_out[0]
    assert picture.classes == set()


@pytest.mark.parametrize("seed", range(40))
def test_any_prediction_can_be_drawn(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 6))
    prediction = Instances((H, W))
    prediction.pred_boxes = Boxes(torch.from_numpy(random.choice(NUMBERS, (count, 4)).astype(np.float32)))
    prediction.pred_classes = torch.from_numpy(random.integers(-3, 9, count))
    if seed % 3:
        prediction.scores = torch.from_numpy(random.choice([math.nan, math.inf, 0.0, 0.5, 1.0], count))
    if seed % 2:
        size = (H, W) if seed % 4 == 1 else (H, W + seed)
        prediction.pred_masks = torch.from_numpy(random.random((count, *size)) < random.choice([0.0, 0.5]))
    sem_seg = random.integers(-5, 300, (H, W)) if seed % 5 else None
    picture = draw(IMAGE, NAMES, NAMES, prediction, sem_seg)
    assert picture.pixels.shape == (2 * H, 2 * W, 3)
    assert (IMAGE == 90).all()


def damaged(tree, random, share=0.2):
    """A copy of dicts and lists, some of whose values are replaced or lost."""
    if isinstance(tree, dict):
        kept = {k: damaged(v, random, share) for k, v in tree.items() if random.random() > share / 4}
        return VALUES[random.integers(len(VALUES))] if random.random() < share / 8 else kept
    if random.random() < share:
        return VALUES[random.integers(len(VALUES))]
    return tree


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_to_the_files_of_a_run_leaves_a_whole_page(write_run, seed):
    random = np.random.default_rng(seed)
    whole = rows(int(random.integers(0, 40)), seed)
    names = ["iteration", *random.choice(SCALARS, 5, replace=False)]  # a page of few charts is written sooner
    some = [{name: row[name] for name in names if name in row} for row in whole]
    log = "".join(json.dumps(damaged(row, random, 0.1)) + "\n" for row in some)
    folder = write_run(log, None)
    results = json.dumps(damaged(RESULTS | {"notes": ["a note"]}, random))
    index = {
        "colors": {"car": "#112233"},
        "pictures": [{"dataset": "a", "image": "b", "prediction": "a.jpg", "truth": "a.jpg", "classes": ["car"]}],
        "failed": [{"dataset": "a", "image": "c", "reason": "why"}],
    }
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.jpg").write_bytes(b"jpeg")
    files = {
        "metrics.json": log,
        "results.json": results,
        "config.yaml": yaml.safe_dump(damaged(CONFIG, random), default_flow_style=None),
        "pictures/index.json": json.dumps(damaged(index, random, 0.3)),
    }
    for name, text in files.items():
        cut = int(random.integers(len(text) + 1)) if random.random() < 0.3 else len(text)
        (folder / name).write_text(text[:cut])
    html = write_report(folder).read_text()
    assert html.endswith("</html>\n")
    for anchor in ("metrics", "pictures", "losses", "settings"):
        assert f'<section id="{anchor}">' in html
