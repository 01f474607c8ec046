"""Random truths and predictions, evaluated by this package, by cityscapesscripts as they are, by their definition."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from official_cityscapes import AVERAGES, step

from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES
from mtl_d2.data.datasets.cityscapes import IMAGE, INSTANCE_IDS, LABEL_IDS, SEMANTIC_IDS, THINGS, semantic_table
from mtl_d2.evaluation.cityscapes import CityscapesEvaluator
from mtl_d2.evaluation.cityscapes_steps import PROCESSES
from mtl_d2.evaluation.semantic import semantic_evaluator

NAME = "random_cityscapes"
INPUTS = 60
SIZE = (40, 60)
SMALLEST = 100  # pixels of an object that counts
PERSON, CAR, CARAVAN, VOID = 24, 26, 29, 4
pytest.importorskip("cityscapesscripts")


@pytest.fixture(scope="module")
def scripts():
    """A process that runs steps of an evaluation."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield lambda *given: process.submit(step, *given).result()


@pytest.fixture
def by_scripts(scripts, monkeypatch):
    """What the scripts said themselves, of each evaluation in turn; all run in one process, 1, 2 or 3 shares of it."""
    said = []
    monkeypatch.setattr("mtl_d2.evaluation.cityscapes_steps.IMAGES", 1)

    def run(name, jobs, folder):
        results, official = scripts(name, jobs, str(folder))
        if official is not None:
            said.append(official)
            monkeypatch.setenv(PROCESSES, str(len(said) % 3 + 1))  # of the next
        return results

    monkeypatch.setattr("mtl_d2.evaluation.cityscapes_steps._run", run)
    return said


@pytest.fixture
def write_truth(tmp_path):
    """Writes label files and registers their images; returns the records."""

    def write(images):
        records = []
        for i, ids in enumerate(images):
            stem = f"here_{i:06d}_000019"
            folder = tmp_path / "gtFine/val/here"
            folder.mkdir(parents=True, exist_ok=True)
            labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
            assert cv2.imwrite(str(folder / (stem + INSTANCE_IDS)), ids)
            assert cv2.imwrite(str(folder / (stem + SEMANTIC_IDS)), labels)
            path = str(folder / (stem + SEMANTIC_IDS))
            records.append({"file_name": f"here/{stem}{IMAGE}", "sem_seg_file_name": path})
            records[-1]["sem_seg_table"] = semantic_table()
        DatasetCatalog.pop(NAME, None)
        DatasetCatalog.register(NAME, lambda: records)
        return records

    MetadataCatalog.get(NAME).set(
        gt_dir=str(tmp_path / "gtFine/val"),
        thing_classes=list(THINGS),
        stuff_classes=list(STUFF_CLASSES),
        ignore_label=255,
        semantic_convention="cityscapes",
    )
    yield write
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.remove(NAME)


def rectangle(random, largest=30):
    y, x = random.integers(0, SIZE[0] - 5), random.integers(0, SIZE[1] - 5)
    height, width = random.integers(3, largest, 2)
    return slice(y, y + height), slice(x, x + width)


def random_ids(random):
    """instanceIds: classes of pixels, void, objects of which some are small or cut, crowds, a caravan."""
    ids = np.full(SIZE, random.choice(LABEL_IDS[:11]), np.uint16)
    for value in random.choice([*LABEL_IDS[:11], *[VOID, 0, PERSON, CAR] * 3], 4):
        ids[rectangle(random)] = value
    for number in range(random.integers(0, 6)):
        ids[rectangle(random)] = 1000 * random.choice([PERSON, CAR, CAR, CARAVAN]) + number
    return ids


def random_objects(random, ids):
    """Masks (N, H, W), label ids and scores: of most regions, moved a little, and of nothing; none now and then."""
    ignored_only = random.random() < 0.3
    values = np.unique(np.where(np.isin(ids, [0, VOID, PERSON, CAR]), ids, 0) if ignored_only else ids)
    values = values[random.random(len(values)) < random.choice([0, 0.5, 0.9])]
    masks = [np.roll(ids == value, random.integers(-1, 2, 2), (0, 1)) for value in values]
    classes = [v // 1000 if v // 1000 in (PERSON, CAR) else random.choice([PERSON, CAR]) for v in values]
    for _ in range(0 if ignored_only else random.choice([0, 0, 1, 3])):
        mask = np.zeros(SIZE, bool)
        mask[rectangle(random)] = random.random() < 0.8  # else it has no pixel
        masks.append(mask)
        classes.append(random.choice([PERSON, CAR]))
    scores = random.choice([0.1, 0.2, 0.5, 0.9, 1.0], len(masks))  # equal ones among them
    return np.array(masks, bool).reshape(-1, *SIZE), np.array(classes, int), scores


def instances(masks, classes, scores):
    found = Instances(SIZE, pred_boxes=Boxes(torch.zeros(len(masks), 4)), scores=torch.as_tensor(scores).double())
    found.pred_classes = torch.as_tensor([{PERSON: 0, CAR: 2}[k] for k in classes], dtype=torch.long)
    found.pred_masks = torch.as_tensor(masks)
    return {"instances": found}


def evaluate(evaluator, records, outputs):
    evaluator.reset()
    evaluator.process(records, outputs)
    return evaluator.evaluate()


def ap_by_definition(images, label, overlap):
    """AP of one class at one overlap, written down from what the scripts say that they do."""
    outcomes, missed, objects = [], 0, 0  # (score, 1 = right or 0 = wrong)
    for ids, masks, labels, scores in images:
        regions = [ids == value for value in np.unique(ids) if label in (value, value // 1000)]
        whole = [r for r in regions if ids[r][0] >= 1000 and r.sum() >= SMALLEST]
        ignored = [r for r in regions if not any(r is w for w in whole)]
        void = np.isin(ids, [0, VOID])
        mine = [(m, s) for m, k, s in zip(masks, labels, scores, strict=True) if k == label and m.any()]
        objects += len(whole)
        for region in whole:
            hits = sorted((s for m, s in mine if iou(m, region) > overlap), reverse=True)
            missed += not hits
            outcomes += [(s, int(i == 0)) for i, s in enumerate(hits)]
        for mask, score in mine:
            if not any(iou(mask, region) > overlap for region in regions):
                outside = (mask & void).sum() + sum((mask & region).sum() * weight(ids, region) for region in ignored)
                outcomes += [(score, 0)] if outside / mask.sum() <= overlap else []
    if not objects:
        return np.nan
    thresholds = sorted({score for score, _ in outcomes})
    kept = [[right for score, right in outcomes if score >= threshold] for threshold in thresholds]
    precision = [sum(k) / len(k) for k in kept] + [1]
    recall = [sum(k) / objects for k in kept] + [0]
    steps = np.convolve([recall[0], *recall, 0], [-0.5, 0, 0.5], "valid")
    return float(np.dot(precision, steps)) if thresholds else 0.0


def weight(ids, region):
    """How often the scripts count a region of the same class that is no object: a crowd twice if it is small."""
    return int(ids[region][0] < 1000) + int(region.sum() < SMALLEST)


def same(a, b):
    """To the last bit."""
    return a == b or (np.isnan(a) and np.isnan(b))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_instance_ap_is_the_scripts_and_where_they_stop_their_definitions(write_truth, by_scripts, tmp_path):
    stopped = 0
    for seed in range(INPUTS):
        random = np.random.default_rng(seed)
        truths = [random_ids(random) for _ in range(random.integers(1, 4))]
        predictions = [random_objects(random, ids) for ids in truths]
        records = write_truth(truths)
        outputs = [instances(*p) for p in predictions]
        found = evaluate(CityscapesEvaluator(NAME, ["instance"], tmp_path), records, outputs)["segm"]
        expected = by_scripts[-1]["instance"]
        stopped += expected is None
        images = [(ids, *objects) for ids, objects in zip(truths, predictions, strict=True)]
        for name, label in (("person", PERSON), ("car", CAR)):
            by_hand = 100 * np.mean([ap_by_definition(images, label, o) for o in np.arange(0.5, 1, 0.05)])
            assert found[f"AP-{name}"] == pytest.approx(by_hand, nan_ok=True), (seed, name)
            if expected:
                assert same(found[f"AP-{name}"], expected[name]), (seed, name)
        assert not expected or same(found["AP"], expected["AP"]), seed
    assert 0 < stopped < INPUTS / 2, stopped


def test_iou_is_the_scripts_to_the_last_bit_for_any_number_of_processes(write_truth, by_scripts, tmp_path):
    for seed in range(INPUTS):
        random = np.random.default_rng(seed)
        truths = [random_ids(random) for _ in range(random.integers(1, 5))]
        records = write_truth(truths)
        outputs = []
        for ids in truths:
            classes = np.frombuffer(semantic_table(), np.uint8)[np.where(ids >= 1000, ids // 1000, ids)].astype(int)
            for _ in range(3):
                classes[rectangle(random)] = random.choice([*range(19), 255])
            outputs.append({"sem_seg": torch.as_tensor(classes)})
        scripted = evaluate(CityscapesEvaluator(NAME, ["semantic"], tmp_path), records, outputs)["sem_seg"]
        own = evaluate(semantic_evaluator(NAME, tmp_path), records, outputs)["sem_seg"]
        expected = by_scripts[-1]["semantic"]
        for key in [*AVERAGES, *(f"IoU-{name}" for name in STUFF_CLASSES)]:
            value = expected[key.removeprefix("IoU-")]
            assert same(scripted[key], value), (seed, key)
            if key in own:
                assert own[key] == pytest.approx(value, nan_ok=True), (seed, key)
