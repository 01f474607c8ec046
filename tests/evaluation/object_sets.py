"""Small sets of objects, their ground truth as predictions, and what the evaluator says of them."""

import contextlib
import io
import json

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtl_d2.evaluation.coco import coco_evaluator

HEIGHT, WIDTH = 60, 80
KINDS = ("bbox", "segm")


@contextlib.contextmanager
def registered(name, read, **metadata):
    """A data set in detectron2's catalogs, for as long as it is looked at."""
    DatasetCatalog.register(name, read)
    MetadataCatalog.get(name).set(**metadata)
    try:
        yield
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def outline(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def annotation(box, category=0, **more):
    """An object of detectron2's form, its mask the whole of its box (x, y, w, h)."""
    found = {"bbox": list(box), "bbox_mode": BoxMode.XYWH_ABS, "category_id": category, "segmentation": [outline(*box)]}
    found.update(more)
    return {key: value for key, value in found.items() if not (isinstance(value, str) and value == "absent")}


def record(image_id, *annotations, **more):
    found = {"file_name": f"{image_id}.jpg", "image_id": image_id, "height": HEIGHT, "width": WIDTH}
    found.update({"annotations": list(annotations), **more})
    return {key: value for key, value in found.items() if not (isinstance(value, str) and value == "absent")}


def pixels(boxes, height=HEIGHT, width=WIDTH):
    """Masks (K, H, W) of boxes (x, y, w, h), as pycocotools fills them."""
    masks = [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([outline(*b)], height, width))) for b in boxes]
    return torch.from_numpy(np.array(masks, np.uint8).reshape(-1, height, width)).bool()


def predicted(boxes, classes, scores=None, masks=None):
    """Instances of boxes (x, y, w, h)."""
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)))
    found.scores = torch.ones(len(boxes)) if scores is None else torch.tensor(scores, dtype=torch.float32)
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    found.pred_masks = pixels(boxes) if masks is None else masks
    return found


def evaluate(name, inputs, outputs, folder, kinds=KINDS):
    evaluator = coco_evaluator(name, kinds, folder)
    evaluator.reset()
    evaluator.process(inputs, [{"instances": instances} for instances in outputs])
    return evaluator, evaluator.evaluate()


def of_nothing(name, inputs, folder, kinds=KINDS):
    return evaluate(name, inputs, [predicted([], []) for _ in inputs], folder, kinds)[1]


def official(file, results, kind):
    """Pycocotools' evaluation of a file on what was written as predictions, as detectron2 gives it to it."""
    found = json.loads(results.read_text())
    if kind == "segm":
        found = [{key: value for key, value in result.items() if key != "bbox"} for result in found]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
