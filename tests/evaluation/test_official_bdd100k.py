"""Random truths and predictions in BDD100K's layout, evaluated by this package and by BDD100K's toolkit 1.0.1."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from mtl_d2.data import register_all
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES, THING_CLASSES
from mtl_d2.evaluation.coco import coco_evaluator
from mtl_d2.evaluation.semantic import semantic_evaluator

pytestmark = pytest.mark.slow

INPUTS = 60
# The toolkit has no release that fits pydantic 2, nor one that finds all of matplotlib 3.10.
REQUIRES = ("bdd100k==1.0.1", "pydantic<2", "matplotlib<3.10")
HEIGHT, WIDTH = 720, 1280
SMALL = (30, 40)  # size of the label maps
FINER = ("APs", "APm", "APl", *(f"AP-{name}" for name in THING_CLASSES))
OTHER_NAMES = ("other vehicle", "trailer", "other person", "person", "bike", "motor")


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory):
    """Gives the toolkit's results for a job, see official_bdd100k.py."""
    folder = tmp_path_factory.mktemp("toolkit")
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", *REQUIRES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"pip cannot install {' '.join(REQUIRES)}: {done.stderr.strip().splitlines()[-1]}")

    def evaluate(job):
        (folder / "job.json").write_text(json.dumps(job))
        script = Path(__file__).with_name("official_bdd100k.py")
        subprocess.run([python, str(script), "job.json", "results.json"], cwd=folder, check=True, capture_output=True)
        return json.loads((folder / "results.json").read_text())

    yield evaluate
    shutil.rmtree(folder)  # half a gigabyte


def write_images(folder, names, size):
    folder.mkdir(parents=True)
    for name in names:
        assert cv2.imwrite(str(folder / name), np.zeros((*size, 3), np.uint8))


def mean_precision(path):
    """Of the classes in the truth, in percent."""
    counts = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 21), dtype=int)
    precision = counts.diagonal() / np.maximum(counts[:, :-1].sum(axis=0), 1)
    return 100 * precision[counts.sum(axis=1) > 0].mean()


def test_mean_iou_is_the_toolkits(toolkit, tmp_path):
    own, pairs = [], []
    for seed in range(INPUTS):
        random = np.random.default_rng(seed)
        root, said = tmp_path / f"{seed}", tmp_path / f"{seed}/predictions"
        names = [f"{i}" for i in range(random.integers(1, 4))]
        write_images(root / "bdd100k/images/10k/val", [name + ".jpg" for name in names], SMALL)
        masks = root / "bdd100k/labels/sem_seg/masks/val"
        for folder in (masks, said):
            folder.mkdir(parents=True)
        classes = random.choice(19, random.integers(1, 19), replace=False)
        outputs = []
        for name in names:
            truth = random.choice([*classes, 255], SMALL).astype(np.uint8)
            wrong = random.random(SMALL) < random.random()
            predicted = np.where(wrong, random.choice([*range(19), 255], SMALL), truth).astype(np.uint8)
            assert cv2.imwrite(str(masks / f"{name}.png"), truth)
            assert cv2.imwrite(str(said / f"{name}.png"), predicted)
            outputs.append({"sem_seg": torch.as_tensor(predicted)})
        register_all(str(root))
        evaluator = semantic_evaluator("bdd100k_sem_seg_val", root)
        evaluator.process(DatasetCatalog.get("bdd100k_sem_seg_val"), outputs)
        own.append(
            {**evaluator.evaluate()["sem_seg"], "mean precision": mean_precision(root / "semantic_confusion.csv")}
        )
        pairs.append((str(masks), str(said)))
    official = toolkit({"semantic": pairs})["semantic"]
    names_of = {"mIoU": "mIoU", "fwIoU": "fIoU", "pACC": "pAcc", "mean precision": "mAcc"}
    names_of.update({f"IoU-{name}": f"IoU-{name}" for name in STUFF_CLASSES})
    for seed, (metrics, expected) in enumerate(zip(own, official, strict=True)):
        for key, its_name in names_of.items():
            value = np.nan_to_num(metrics[key])  # the toolkit says 0 of a class without truth, and leaves it out
            assert value == pytest.approx(expected[its_name]), (seed, key)


def random_frame(random, name):
    """A frame of the label file, and predictions of it: most boxes moved by some pixels, others of nothing."""
    labels, boxes, classes = [], [], []
    for i in range(random.integers(0, 9)):
        x1, y1 = int(random.integers(0, WIDTH - 300)), int(random.integers(0, HEIGHT - 300))
        x2, y2 = (int(c + random.choice([0, 4, 30, 80, 290])) for c in (x1, y1))
        category = str(random.choice([*THING_CLASSES[:4], *OTHER_NAMES]))
        label = {"id": f"{name}-{i}", "category": category, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
        labels.append({**label, "attributes": {"crowd": bool(random.random() < 0.1)}})
        if random.random() < 0.8:
            boxes.append(np.array([x1, y1, x2 + 1, y2 + 1]) + random.integers(-2, 3, 4))
            classes.append(THING_CLASSES.index(category) if category in THING_CLASSES else random.integers(0, 10))
    for _ in range(random.integers(0, 3)):
        x1, y1 = random.integers(0, 600, 2)
        boxes.append(np.array([x1, y1, x1 + random.integers(5, 100), y1 + random.integers(5, 100)]))
        classes.append(random.integers(0, 10))
    boxes = np.array([[x1, y1, max(x1 + 1, x2), max(y1 + 1, y2)] for x1, y1, x2, y2 in boxes]).reshape(-1, 4)
    return {"name": name, "labels": labels}, boxes, np.array(classes), random.permutation(1000)[: len(boxes)] / 1000


def as_frame(name, boxes, classes, scores):
    """The toolkit's form of a prediction; its corners are pixels of the box."""
    corners = [{"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1} for x1, y1, x2, y2 in boxes.tolist()]
    columns = zip(corners, classes, scores, strict=True)
    labels = [{"category": THING_CLASSES[k], "score": float(s), "box2d": box} for box, k, s in columns]
    return {"name": name, "labels": [{"id": str(i), **label} for i, label in enumerate(labels)]}


def test_box_ap_is_the_toolkits(toolkit, tmp_path):
    write_images(tmp_path / "images", ["0.jpg"], (HEIGHT, WIDTH))
    own, pairs, inputs = [], [], []
    for seed in range(INPUTS):
        random = np.random.default_rng(seed)
        base = tmp_path / f"{seed}/bdd100k"
        (base / "labels/det_20").mkdir(parents=True)
        (base / "images/100k").mkdir(parents=True)
        (base / "images/100k/val").symlink_to(tmp_path / "images")
        frames = [random_frame(random, f"{i}.jpg") for i in range(random.integers(1, 5))]
        truth, said = base / "labels/det_20/det_val.json", base / "predictions.json"
        truth.write_text(json.dumps([frame for frame, *_ in frames]))
        said.write_text(json.dumps([as_frame(frame["name"], *rest) for frame, *rest in frames]))
        register_all(str(base.parent))
        evaluator = coco_evaluator("bdd100k_det_val", ("bbox",), base)
        evaluator.reset()
        for record, (_, boxes, classes, scores) in zip(DatasetCatalog.get("bdd100k_det_val"), frames, strict=True):
            found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.as_tensor(boxes)), scores=torch.as_tensor(scores))
            found.pred_classes = torch.as_tensor(classes)
            evaluator.process([record], [{"instances": found}])
        own.append(evaluator.evaluate()["bbox"])
        inputs.append(frames)
        pairs.append((str(truth), str(said)))
    official = toolkit({"detection": pairs})["detection"]
    for seed, (metrics, expected) in enumerate(zip(own, official, strict=True)):
        # Without any prediction the toolkit says 0 also of sizes and classes of which there is no object.
        silent = not any(len(boxes) for _, boxes, *_ in inputs[seed])
        for key in ("AP", "AP50", "AP75", *(() if silent else FINER)):
            assert metrics[key] == pytest.approx(expected[key], nan_ok=True), (seed, key)
