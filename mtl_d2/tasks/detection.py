"""Detection: a box and a class for each object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from detectron2.modeling import META_ARCH_REGISTRY

from mtl_d2.data.annotated_classes import NEGATIVE_IDS, NOT_EXHAUSTIVE_IDS
from mtl_d2.data.augmentations import cuts_objects
from mtl_d2.data.checks.classes import background_classes, shown_classes, wrong_category_ids
from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.checks.partial_classes import (
    annotated_all_the_same,
    denied_all_the_same,
    exhaustive_in_all,
    stated_of_images,
    without_background,
)
from mtl_d2.data.objects import ANNOTATED, InstanceReader
from mtl_d2.evaluation import driving, voc_ap
from mtl_d2.evaluation.coco import PYCOCOTOOLS
from mtl_d2.evaluation.constant import ConstantObjects
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import Objects
from mtl_d2.prediction.results import Objects as Results
from mtl_d2.pseudo_labels.objects import ObjectForm
from mtl_d2.tasks.base import Record, Sample, TaskKind
from mtl_d2.tasks.registry import task_kind

if TYPE_CHECKING:
    from mtl_d2.report.canvas import Canvas

NUMBER_OF_CLASSES = "MODEL.ROI_HEADS.NUM_CLASSES"  # for detectors of detectron2's own, and of others that say nothing
# What evaluates boxes beside pycocotools, by the ``evaluator_type`` of data sets.
BESIDE = {driving.EVALUATOR_TYPE: driving.DRIVING, voc_ap.EVALUATOR_TYPE: voc_ap.VOC_AP}


@task_kind
class Detection(TaskKind):
    """Boxes of detectron2's ``annotations``. Their layers are the detector's; see ``MultiTaskMixin.detector_heads``.

    Samples have ``instances`` with ``gt_boxes`` and ``gt_classes``; ``regions_left_out``, boxes (K, 4) in which objects
    are not told apart, where there are any; and ``annotated_classes``, (C,) bool, where some are not.
    """

    name = "detection"
    several = False
    record_key = "annotations"
    sample_key = "instances"
    reading_keys = (ANNOTATED, NEGATIVE_IDS, NOT_EXHAUSTIVE_IDS)
    group = "bbox"
    classes_key = "thing_classes"
    ids_key = "thing_dataset_id_to_contiguous_id"
    evaluator_types: ClassVar[tuple[str, ...]] = tuple(BESIDE)
    metrics = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl", "AR"), True) | driving.HIGHER | voc_ap.HIGHER

    def reader(self, cfg: Any) -> InstanceReader:
        """Boxes, and masks where the kind has them."""
        return InstanceReader(
            masks=self.reads_masks,
            mask_format=cfg.INPUT.MASK_FORMAT,
            boxes_of_masks=cuts_objects(cfg),
            leave_regions_out=cfg.MTL.DATA.CROWD_REGIONS == "ignore",
        )

    def check_records(self, examination: Examination) -> None:
        """Ids of classes, here; which of them occur, for ``check_training_sets``."""
        shown = shown_classes(examination.cleaned)
        examination.facts[self.sample_key] = shown
        metadata, records = examination.metadata, examination.cleaned
        examination.facts[ANNOTATED] = stated_of_images(metadata, records)
        mistakes = list(wrong_category_ids(metadata, shown)) or list(annotated_all_the_same(metadata, records))
        examination.refuse(mistakes)
        examination.warn(() if mistakes else denied_all_the_same(metadata, records))

    def check_training_sets(self, examinations: Mapping[str, Examination]) -> Iterator[tuple[str, str]]:
        """One data set may be all background, but not all of them together."""
        if not any(map(_shows_objects, examinations.values())):
            yield (
                "",
                f"{', '.join(examinations)}: no image shows an object to detect: the annotation file may be of other "
                "images, or all its boxes were dropped or are marked as crowd; correct it",
            )
        yield from background_classes(
            {name: examination.facts[self.sample_key] for name, examination in examinations.items()},
            {name: exhaustive_in_all(examination.facts[ANNOTATED]) for name, examination in examinations.items()},
        )
        first, of_first = next(iter(examinations.items()))
        stated = [examination.facts[ANNOTATED] for examination in examinations.values()]
        yield from ((first, line) for line in without_background(stated, of_first.cfg.MODEL.RPN))

    def number_of_classes(self, cfg: Any) -> tuple[str, int]:
        """As the detector counts them."""
        name = cfg.MODEL.META_ARCHITECTURE
        model = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
        key = getattr(model, "classes_option", NUMBER_OF_CLASSES)
        return key, attrgetter(key)(cfg)

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Pycocotools, and beside it what driving networks, or VOC's, are compared by."""
        return (PYCOCOTOOLS, BESIDE[evaluator_type]) if evaluator_type in BESIDE else (PYCOCOTOOLS,)

    def truth(self, cfg: Any, dataset: str) -> Objects:
        """Boxes, and masks where the kind has them."""
        return Objects(cfg, dataset, masks=self.reads_masks)

    def constant(self, cfg: Any, records: Sequence[Record]) -> ConstantObjects:
        """The boxes that hit most often."""
        return ConstantObjects(records, masks=self.reads_masks)

    def definition(self, dataset: str) -> str:
        """Pycocotools'."""
        return "AP as by pycocotools: precision is the highest at any recall from there on"

    def pseudo_labels(self) -> ObjectForm:
        """Boxes, and masks where predictions have them."""
        return ObjectForm(self.record_key)

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> Results:
        """Boxes with scores and classes, and masks where there are some; NaN is below any threshold."""
        kept = output[(output.scores >= score_threshold) & output.pred_boxes.tensor.isfinite().all(dim=1)]
        kept = kept[kept.scores.argsort(descending=True, stable=True)].to("cpu")
        masks = kept.pred_masks.numpy() if kept.has("pred_masks") else None
        classes = tuple(map(str, metadata.get(self.classes_key) or ()))
        boxes, scores = kept.pred_boxes.tensor.float().numpy(), kept.scores.float().numpy()
        return Results(boxes, scores, kept.pred_classes.numpy(), classes, masks)

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """Boxes, and masks where annotations have them."""
        canvas.add_objects(record[self.record_key], metadata)

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """Those of scores high enough."""
        instances = prediction.to("cpu")
        if instances.has("scores"):
            instances = instances[~(instances.scores < canvas.score_threshold)]  # NaN stays, to be counted
        canvas.add_objects(instances, metadata)

    def draw_result(self, canvas: Canvas, result: Results, metadata: Any) -> None:
        """All of them."""
        canvas.add_objects(result, metadata)


def _shows_objects(examination: Examination) -> bool:
    annotations: Iterable[Sample] = chain.from_iterable(r.get("annotations") or () for r in examination.cleaned)
    return any(not annotation.get("iscrowd", 0) for annotation in annotations)
