"""AP of boxes and masks as pycocotools counts it."""

from __future__ import annotations

import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data.catalog import Metadata
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.utils import comm

from mtl_d2.data.annotations import image_key
from mtl_d2.evaluation.coco_ap import Results, evaluate_objects
from mtl_d2.evaluation.object_truth import ObjectTruth, object_truth
from mtl_d2.evaluation.tools import Tool

MAX_DETECTIONS = 100  # of a class in an image, that COCO's evaluation looks at


def coco_evaluator(name: str, kinds: Sequence[str], folder: Path) -> DatasetEvaluator:
    """Pycocotools' numbers, on a clean copy of the test set: neither its files nor its metadata are written to.

    Args:
        name: of the test set.
        kinds: of ``bbox`` and ``segm``.
        folder: for predictions and what else is written.

    Raises:
        DataError: one line for each mistake that keeps the test set from being evaluated.
    """
    return ObjectEvaluator(object_truth(name, kinds), kinds, folder)


def _evaluate_images(evaluator: DatasetEvaluator, records: Sequence[dict[str, Any]]) -> Any:
    """It counts every image of its set, unless it is told which."""
    return evaluator.evaluate([image_key(record) for record in records])  # type: ignore[call-arg]


def _not_too_many(record: dict[str, Any]) -> bool:
    """Whether pycocotools looks at as many predictions as there are objects of each class."""
    count = Counter(a["category_id"] for a in record.get("annotations") or () if "category_id" in a)
    return max(count.values(), default=0) <= MAX_DETECTIONS


PYCOCOTOOLS = Tool(
    "pycocotools",
    lambda name, kinds, folder: coco_evaluator(name, [kind.group for kind in kinds], folder),
    "look at its boxes, masks, `category_id` and `image_id`, and at the order of the classes in its metadata",
    evaluate_on=_evaluate_images,
    can_be_perfect=_not_too_many,
)


class ObjectEvaluator(COCOEvaluator):
    """detectron2's evaluator, of a ground truth that it is given; without predictions AP is 0 and not nan.

    Per kind it gives ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` and, of more than one class, ``AP-<class>``,
    in percent; nan where the truth has no such object.

    Attributes:
        notes: what of the truth was left out or mended, a line each.
    """

    def __init__(self, truth: ObjectTruth, kinds: Sequence[str], folder: Path) -> None:
        """Args: the ground truth; ``kinds`` of ``bbox`` and ``segm``; where predictions are written."""
        # detectron2's own reads a file, or writes one and notes it in the data set's metadata. What its other methods
        # take is set here; a test compares the list with the installed version.
        self._logger = logging.getLogger(__name__)
        self._cpu_device = torch.device("cpu")
        self._distributed = True
        self._output_dir = str(folder)
        self._tasks = tuple(sorted(kinds))
        self._metadata = Metadata(name=truth.name, thing_classes=truth.classes)
        self._use_fast_impl = False  # it is not the official one
        self._max_dets_per_image = [1, 10, 100]
        self._kpt_oks_sigmas = ()
        self._do_evaluation = truth.published
        self._predictions: Results = []
        self._results: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._truth = truth
        self.notes = truth.notes

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Args: ``inputs`` with ``image_id``, or without it ``file_name``; ``outputs`` with ``instances``."""
        super().process([{**sample, "image_id": image_key(sample)} for sample in inputs], outputs)

    def evaluate(self, img_ids: Any = None) -> dict[str, dict[str, float]]:
        """The metrics by kind, on the main process; an empty dict on the others and where no truth is published.

        Args:
            img_ids: of the images that count, as records and samples have them; None = all.
        """
        results = super().evaluate(img_ids)
        if not results and self._do_evaluation and comm.is_main_process():  # not one image came with instances
            self._results = OrderedDict()
            self._eval_predictions([], img_ids)
            results = dict(self._results)
        return results

    def _eval_predictions(self, predictions: Results, img_ids: Any = None) -> None:
        """Fills ``self._results``."""
        results = [result for prediction in predictions for result in self._with_ids(prediction)]
        file = Path(self._output_dir, "coco_instances_results.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results))
        if not self._do_evaluation:
            self._logger.info("%s: its annotations are not published, predictions are written only", self._truth.name)
            return
        only = None if img_ids is None else {self._truth.image_ids[key] for key in img_ids}
        for kind in self._tasks:
            truth = self._truth.api(kind, only)
            evaluated = evaluate_objects(truth, results, kind, self._truth.left_out, self._truth.not_exhaustive)
            self._results[kind] = self._derive_coco_results(evaluated, kind, self._truth.classes)

    def _with_ids(self, prediction: dict[str, Any]) -> Results:
        """The objects predicted in one image, with the ids that the truth has."""
        image_id = self._truth.image_ids[prediction["image_id"]]
        categories = self._truth.category_ids
        objects = []
        for result in prediction.get("instances", ()):
            if result["category_id"] >= len(categories):
                raise ValueError(
                    f"{self._truth.name} has {len(categories)} classes, but class {result['category_id']} is predicted"
                )
            category_id = categories[result["category_id"]]
            objects.append({**result, "image_id": image_id, "category_id": category_id})
        return objects
