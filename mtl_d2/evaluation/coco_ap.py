"""The numbers of COCO's evaluation: pycocotools', by the quickest way to them."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from types import MappingProxyType
from typing import Any

import faster_coco_eval
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtl_d2.evaluation.object_truth import coco_api

Results = list[dict[str, Any]]
ByImage = Mapping[int | str, frozenset[Any]]  # ids of categories
NONE: ByImage = MappingProxyType({})


def evaluate_objects(
    truth: COCO, results: Results, kind: str, left_out: ByImage = NONE, not_exhaustive: ByImage = NONE
) -> COCOeval | faster_coco_eval.COCOeval_faster:
    """COCO's evaluation of the predictions on the images of ``truth``, summarized.

    Args:
        truth: pycocotools' index of the objects that there are.
        results: COCO's.
        kind: ``bbox`` or ``segm``.
        left_out: by image, categories whose predictions are neither right nor wrong.
        not_exhaustive: by image, those whose predictions can be right, and are not wrong.
    """
    # It takes an object's area from its box if there is one, from its mask otherwise.
    shape = "bbox" if kind == "bbox" else "segmentation"
    keys = ("image_id", "category_id", "score", shape)
    counted = (r for r in results if r["category_id"] not in left_out.get(r["image_id"], ()))
    kept = [{key: r[key] for key in keys} for r in counted if r["image_id"] in truth.imgs and shape in r]
    with redirect_stdout(io.StringIO()) as said:
        evaluation = federated(truth, kept, kind, not_exhaustive) if not_exhaustive else quick(truth, kept, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        said.seek(0)
        said.truncate()
        evaluation.summarize()
    logging.getLogger(__name__).info("%s as by pycocotools:\n%s", kind, said.getvalue().rstrip())
    return evaluation


def quick(truth: COCO, results: Results, kind: str) -> faster_coco_eval.COCOeval_faster:
    """faster-coco-eval's, whose numbers are pycocotools', equal ones in equal order included.

    It knows numbers only as ids of images and categories, refuses scores of NaN, which pycocotools ranks last, and
    writes into what it is given.
    """
    numbers = {
        key: {old: new for new, old in enumerate(np.unique(list(ids)).tolist())}
        for key, ids in (("image_id", truth.imgs), ("category_id", truth.cats))
    }
    ranked = [{**r, "score": -math.inf if math.isnan(r["score"]) else r["score"]} for r in results]
    objects, predicted = (
        [{**one, **{key: known[one[key]] for key, known in numbers.items()}} for one in listed]
        for listed in (truth.dataset["annotations"], ranked)
    )
    images = [{**image, "id": numbers["image_id"][i]} for i, image in truth.imgs.items()]
    categories = [{**category, "id": numbers["category_id"][i]} for i, category in truth.cats.items()]
    renumbered = {**truth.dataset, "images": images, "annotations": objects, "categories": categories}
    quick_truth = faster_coco_eval.COCO(renumbered)
    return faster_coco_eval.COCOeval_faster(quick_truth, quick_truth.loadRes(predicted), kind, print_function=print)


def federated(truth: COCO, results: Results, kind: str, not_exhaustive: ByImage) -> COCOeval:
    """Pycocotools' own, where classes are not annotated exhaustively."""
    predicted = truth.loadRes(results) if results else coco_api({**truth.dataset, "annotations": []})
    return FederatedEvaluation(truth, predicted, kind, not_exhaustive)


class FederatedEvaluation(COCOeval):
    """Pycocotools' evaluation, to which what is predicted beside the objects of some classes is not wrong.

    Paper: LVIS (Gupta et al., https://arxiv.org/abs/1908.03195), section 3.2: of a category that is not exhaustively
    annotated in an image, a detection without a match is ignored there.
    """

    def __init__(self, truth: COCO, predicted: COCO, kind: str, not_exhaustive: ByImage) -> None:
        """Args: as pycocotools has them; and the ids of those classes by that of an image."""
        super().__init__(truth, predicted, kind)
        self._not_exhaustive = not_exhaustive

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> dict[str, Any] | None:  # noqa: N802
        """See pycocotools."""
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found is not None and catId in self._not_exhaustive.get(imgId, ()):
            found["dtIgnore"] = np.logical_or(found["dtIgnore"], found["dtMatches"] == 0)
        return found
