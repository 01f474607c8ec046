"""The numbers are pycocotools', to 1e-12, wherever a file has nothing to be mended."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    evaluate,
    official,
    outline,
    pixels,
    predicted,
    record,
    registered,
)

from mtl_d2.evaluation.coco_ap import evaluate_objects
from mtl_d2.evaluation.object_truth import coco_api

INPUTS = 200


def random_box(rng):
    w, h = rng.uniform(3, 50, 2)
    return [float(v) for v in (rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h), w, h)]


def random_file(rng):
    """COCO's dict: ids with gaps and in no order, crowds, images that show nothing."""
    classes = int(rng.integers(1, 5))
    categories = [int(i) for i in rng.choice(90, classes, replace=False)]
    images = [int(i) for i in rng.choice(10**6, int(rng.integers(1, 6)), replace=False)]
    annotations = []
    for image in images:
        for _ in range(int(rng.choice([0, 1, 4, 9]))):
            box = random_box(rng)
            one = {"image_id": image, "bbox": box, "category_id": int(rng.choice(categories)), "iscrowd": 0}
            one["area"] = float(box[2] * box[3] * rng.uniform(0.3, 30))  # objects of all three sizes
            one["segmentation"] = [outline(*box)]
            if rng.random() < 0.2:
                mask = pixels([box])[0].numpy().ravel(order="F")
                ends = np.flatnonzero(np.diff(mask)) + 1
                runs = np.diff([0, *ends, len(mask)]).tolist()
                one.update(iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [0, *runs] if mask[0] else runs})
            annotations.append(one)
    for one, number in zip(annotations, rng.permutation(len(annotations)), strict=True):
        one["id"] = 1 + 3 * int(number)
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in images],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"class {i}"} for i in categories],
    }


def random_predictions(rng, record, classes, many):
    """Objects found more or less well, others that are none; of one class more than count where ``many``."""
    boxes, labels = [], []
    for a in record["annotations"]:
        if rng.random() < 0.8:
            boxes.append([max(0.5, v + float(rng.normal(0, 1))) for v in a["bbox"]])
            labels.append(a["category_id"] if rng.random() < 0.9 else int(rng.integers(classes)))
    for _ in range(130 if many else int(rng.integers(0, 8))):
        boxes.append(random_box(rng))
        labels.append(0 if many else int(rng.integers(classes)))
    scores = rng.choice([0.3, 0.5, 0.9], len(boxes)) if rng.random() < 0.3 else rng.random(len(boxes))  # ties or none
    return predicted(boxes, labels, scores)


@pytest.mark.parametrize("seed", range(INPUTS))
def test_a_clean_file_gives_pycocotools_own_numbers(seed, tmp_path):
    rng = np.random.default_rng(seed)
    content, file, name = random_file(rng), tmp_path / "truth.json", f"random_{seed}"
    file.write_text(json.dumps(content))
    before = file.read_bytes()
    with registered(name, lambda: load_coco_json(str(file), "", name), json_file=str(file)):
        records = DatasetCatalog.get(name)
        many = seed % 10 == 0
        outputs = [
            random_predictions(rng, r, len(content["categories"]), many and i == 0) for i, r in enumerate(records)
        ]
        evaluator, results = evaluate(name, records, outputs, tmp_path)
    written = tmp_path / "coco_instances_results.json"
    found = json.loads(written.read_text())
    assert file.read_bytes() == before
    for kind in KINDS if found else ():
        theirs = official(file, written, kind)
        ours = evaluate_objects(evaluator._truth.api(kind), found, kind)
        np.testing.assert_allclose(ours.stats[:12], theirs.stats, rtol=0, atol=1e-12)
        for array in ("precision", "recall", "scores"):
            np.testing.assert_allclose(ours.eval[array], theirs.eval[array], rtol=0, atol=1e-12)
        first = [results[kind][key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
        expected = [s * 100 if s >= 0 else np.nan for s in theirs.stats[:6]]
        np.testing.assert_allclose(first, expected, rtol=0, atol=1e-10)


def test_scores_that_are_no_numbers_rank_last_as_with_pycocotools(tmp_path):
    rng = np.random.default_rng(11)
    content, file = random_file(rng), tmp_path / "truth.json"
    file.write_text(json.dumps(content))
    scores = [0.5, np.nan, 0.25, -np.inf, np.inf]
    found = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": scores[i % 5]}
        for i, a in enumerate(content["annotations"] * 2)
    ]
    assert len(found) > 20
    written = tmp_path / "found.json"
    written.write_text(json.dumps(found))
    theirs = official(file, written, "bbox")
    ours = evaluate_objects(coco_api(content), found, "bbox")
    np.testing.assert_allclose(ours.eval["precision"], theirs.eval["precision"], rtol=0, atol=1e-12)


def test_ids_of_categories_may_be_numpys(tmp_path):
    box = {"bbox": [5.0, 5.0, 9.0, 9.0], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
    records, ids = [record(1, box)], {i: k for k, i in enumerate(np.array([7, 3]))}
    metadata = {"thing_classes": ["a", "b"], "thing_dataset_id_to_contiguous_id": ids}
    with registered("numpys", lambda: records, **metadata):
        results = evaluate("numpys", records, [predicted([box["bbox"]], [1])], tmp_path, ["bbox"])[1]
    assert results["bbox"]["AP-b"] == pytest.approx(100)
    assert json.loads((tmp_path / "coco_instances_results.json").read_text())[0]["category_id"] == 3
