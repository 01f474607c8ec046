import numpy as np
import pytest
import torch
from detectron2.evaluation.pascal_voc_evaluation import voc_eval
from detectron2.structures import Boxes, BoxMode, Instances

from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.rehearsal import rehearse
from mtl_d2.evaluation.voc_ap import AREA, POINTS, VocEvaluator, area, eleven_points

CLASSES = ("car", "dog")
EASY, HARD = (10.0, 4.0, 30.0, 36.0), (40.0, 0.0, 60.0, 20.0)


def objects(*boxes):
    """Annotations of (box, class, whether it is difficult)."""
    keys = ("bbox", "category_id", "iscrowd")
    return [dict(zip(keys, box, strict=True), bbox_mode=BoxMode.XYXY_ABS) for box in boxes]


def records(sets, *annotations):
    return [r | {"annotations": of} for r, of in zip(sets.records(len(annotations)), annotations, strict=True)]


def measured(name, given, predictions):
    """Metrics of predictions (box, score, class) for each image."""
    evaluator = VocEvaluator(name)
    for record, of in zip(given, predictions, strict=True):
        boxes = torch.tensor([box for box, _, _ in of]).reshape(-1, 4)
        scores, classes = torch.tensor([s for _, s, _ in of]), torch.tensor([c for _, _, c in of], dtype=torch.long)
        found = Instances((48, 64), pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
        evaluator.process([record], [{"instances": found}])
    return evaluator.evaluate()["voc"]


def test_areas_by_hand():
    # found, missed, found, of 4: precision 1, 1/2, 2/3 at recalls 1/4, 1/4, 1/2
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1, 1 / 2, 2 / 3])
    assert area(recall, precision) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert eleven_points(recall, precision) == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)  # 0 to 0.2, and 0.3 to 0.5
    assert area(np.array([]), np.array([])) == eleven_points(np.array([]), np.array([])) == 0


@pytest.mark.parametrize(
    ("predictions", "ap"),
    [
        ([(EASY, 0.5, 0)], 100),
        ([(HARD, 0.9, 0), (EASY, 0.5, 0)], 100),  # what is difficult is not counted as false
        ([(HARD, 0.9, 0), (HARD, 0.8, 0), (EASY, 0.5, 0)], 100),  # however often
        ([(EASY, 0.9, 0), (EASY, 0.8, 0)], 100),  # the second is false, after all was found
        ([((0.0, 40.0, 9.0, 48.0), 0.9, 0), (EASY, 0.5, 0)], 50),
        ([(EASY, 0.9, 1)], 0),  # of another class
        ([((10.0, 4.0, 20.0, 36.0), 0.9, 0)], 100),  # an IoU of exactly a half
        ([((10.0, 4.0, 19.9, 36.0), 0.9, 0)], 0),
        ([], 0),
    ],
)
def test_what_is_found(sets, predictions, ap):
    given = records(sets, objects((EASY, 0, 0), (HARD, 0, 1)))
    name = sets.register("own_voc", given, thing_classes=list(CLASSES), evaluator_type="voc")
    assert measured(name, given, [predictions]) == pytest.approx({AREA: ap, POINTS: ap})


def test_without_an_object_there_is_no_ap(sets):
    given = records(sets, objects((HARD, 0, 1)))
    name = sets.register("own_voc", given, thing_classes=list(CLASSES))
    assert all(map(np.isnan, measured(name, given, [[(HARD, 0.9, 0)]]).values()))


def write_xml(path, annotations):
    """As VOC has it: corners counted from 1."""
    things = []
    for a in annotations:
        x1, y1, x2, y2 = map(int, a["bbox"])
        box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        name, difficult = CLASSES[a["category_id"]], a["iscrowd"]
        rest = f"<pose/><truncated>0</truncated><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
        things.append(f"<object><name>{name}</name>{rest}</object>")
    path.write_text(f"<annotation>{''.join(things)}</annotation>")


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_those_of_detectron2s_evaluation_on_files(sets, tmp_path, seed):
    rng = np.random.default_rng(seed)

    def box():
        x, y, w, h = rng.integers((0, 0, 6, 6), (40, 28, 24, 20)).tolist()
        return [float(x), float(y), float(x + w), float(y + h)]

    truths = [objects(*((box(), int(rng.integers(2)), int(rng.random() < 0.3)) for _ in range(4))) for _ in range(6)]
    predictions = []
    for of in truths:  # near to an object, or anywhere
        near = [((a["bbox"] + rng.integers(-9, 10, 4) / 4 + 1 / 16).tolist(), a["category_id"]) for a in of * 2]
        placed = [*near, *((box(), int(rng.integers(2))) for _ in range(3))]
        predictions.append([(b, float(np.float32(rng.random())), c) for b, c in placed])
    given = records(sets, *truths)
    found = measured(sets.register("own_voc", given, thing_classes=list(CLASSES)), given, predictions)
    for i, of in enumerate(truths):
        write_xml(tmp_path / f"{i}.xml", of)
    (tmp_path / "list.txt").write_text("\n".join(map(str, range(len(truths)))))
    for number, name in enumerate(CLASSES):
        lines = [
            f"{i} {score!r} {b[0] + 1} {b[1] + 1} {b[2]} {b[3]}"
            for i, of in enumerate(predictions)
            for b, score, category in of
            if category == number
        ]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    files = (str(tmp_path / "{}.txt"), str(tmp_path / "{}.xml"), str(tmp_path / "list.txt"))
    for metric, of_2007 in ((AREA, False), (POINTS, True)):
        official = [voc_eval(*files, name, 0.5, of_2007)[2] for name in CLASSES]
        assert 5 < found[metric] < 95
        assert found[metric] == pytest.approx(100 * np.mean(official), abs=1e-9)


def test_it_stands_beside_cocos_and_the_truth_gets_its_due(sets):
    name = sets.register("own_voc", records(sets, objects((EASY, 0, 0), (HARD, 1, 1)), []), evaluator_type="voc")
    cfg = sets.config(name)
    rehearse(cfg)
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    assert set(evaluator.evaluate()) == {"bbox", "voc"}
