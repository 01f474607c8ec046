"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from detectron2.modeling import build_sem_seg_head
from torch import nn

from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.checks.label_maps import check_label_maps
from mtl_d2.data.checks.partial_classes import wrong_other_class
from mtl_d2.data.images import read_ids
from mtl_d2.data.label_map import LabelMapKeys, LabelMapReader
from mtl_d2.evaluation.cityscapes import EVALUATOR_TYPES, PIXELS
from mtl_d2.evaluation.constant import ConstantMap
from mtl_d2.evaluation.driving import driving_tools
from mtl_d2.evaluation.semantic import SEMANTIC, semantic_convention
from mtl_d2.evaluation.semantic_scores import CONVENTIONS
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import LabelMap
from mtl_d2.modeling.heads.class_map_head import ClassMapHead
from mtl_d2.modeling.heads.map_head import MapHead
from mtl_d2.modeling.heads.map_layers import check_layers
from mtl_d2.prediction.highest import highest_class
from mtl_d2.prediction.results import ClassMap
from mtl_d2.pseudo_labels.maps import MapForm
from mtl_d2.tasks.base import Record, TaskKind
from mtl_d2.tasks.options import option_key, task_options
from mtl_d2.tasks.registry import task_kind

if TYPE_CHECKING:
    from mtl_d2.report.canvas import Canvas

KEYS = LabelMapKeys()


@task_kind
class Semantic(TaskKind):
    """Label maps of detectron2's ``sem_seg_file_name``; samples have ``sem_seg`` (H, W) int64.

    ``semantic/<name>`` is another task of the kind, with keys that end in ``/<name>``, in records and metadata alike.
    """

    name = "semantic"
    record_key = KEYS.file
    sample_key = KEYS.sample
    group = "sem_seg"
    file_keys = (KEYS.file,)
    reading_keys = (KEYS.table, KEYS.ignored, KEYS.annotated, KEYS.other)
    classes_key = KEYS.classes
    ids_key = "stuff_dataset_id_to_contiguous_id"
    options = "MODEL.SEM_SEG_HEAD"
    module = "sem_seg_head"
    is_map = True
    evaluator_types = EVALUATOR_TYPES
    metrics = dict.fromkeys(("mIoU", "fwIoU", "mACC", "pACC", "iIoU", "IoU_sup", "iIoU_sup"), True)

    def __init__(self, task: str) -> None:
        """See ``TaskKind``."""
        super().__init__(task)
        self.keys = KEYS.named(self.own_name)

    def record_defaults(self, cfg: Any, dataset: str) -> Mapping[str, Any]:
        """The id of pixels without a label, where it is another than the head's."""
        usual = task_options(cfg, self).IGNORE_VALUE
        ignored = self.metadata(dataset).get(self.keys.ignored, usual)
        return {} if ignored == usual else {self.keys.ignored: ignored}

    def reader(self, cfg: Any) -> LabelMapReader:
        """Ids of classes below the head's number of them."""
        options = task_options(cfg, self)
        key, number = self.number_of_classes(cfg)
        return LabelMapReader(self.keys, number, options.IGNORE_VALUE, key)

    def check_config(self, cfg: Any) -> Iterable[str]:
        """What the chosen head cannot do."""
        yield from check_layers(cfg, self)
        yield from MapHead.check(cfg, self)

    def check_records(self, examination: Examination) -> None:
        """Headers of all label maps, and the pixels of some."""
        options = task_options(examination.cfg, self)
        key = partial(option_key, examination.cfg, self)
        smoothing = (key("LABEL_SMOOTHING"), options.LABEL_SMOOTHING)
        examination.refuse(wrong_other_class(examination.metadata, self.classes_key, *smoothing))
        check_label_maps(examination, self.keys, options.NUM_CLASSES, options.IGNORE_VALUE, key)

    def number_of_classes(self, cfg: Any) -> tuple[str, int]:
        """The head's."""
        return option_key(cfg, self, "NUM_CLASSES"), task_options(cfg, self).NUM_CLASSES

    def build_layers(self, cfg: Any, shapes: Mapping[str, Any]) -> nn.Module:
        """The head that the options name."""
        return build_sem_seg_head(cfg, shapes)

    def build_head(self, layers: nn.Module) -> ClassMapHead:
        """Scores (C, H, W) as predictions, or classes (H, W)."""
        return ClassMapHead(self, layers)

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Cityscapes' scripts for the one task of its data sets that they know, the IoU of classes for others."""
        usual = PIXELS if evaluator_type in EVALUATOR_TYPES and not self.own_name else SEMANTIC
        return (usual, *driving_tools(self.own_name, evaluator_type))

    def truth(self, cfg: Any, dataset: str) -> LabelMap:
        """A class for each pixel."""
        options = task_options(cfg, self)
        return LabelMap(cfg, dataset, self.keys, options.NUM_CLASSES, options.IGNORE_VALUE)

    def constant(self, cfg: Any, records: Sequence[Record]) -> ConstantMap:
        """How often each class stands at each place."""
        options = task_options(cfg, self)
        return ConstantMap(records, self.keys, options.NUM_CLASSES, options.IGNORE_VALUE)

    def definition(self, dataset: str) -> str:
        """That of the data set's convention."""
        if SEMANTIC not in self.tools(self.metadata(dataset).get("evaluator_type")):
            return CONVENTIONS["cityscapes"].definition
        return CONVENTIONS[semantic_convention(dataset, self.keys)].definition

    def pseudo_labels(self) -> MapForm:
        """The class of each pixel that the teacher is sure of."""
        return MapForm(self.keys)

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> ClassMap:
        """The class of the highest score."""
        ids = highest_class(output)
        return ClassMap(ids, tuple(map(str, metadata.get(self.classes_key) or ())))

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """The class of each pixel."""
        ignored = record.get(self.keys.ignored, metadata.get(self.keys.ignored, 255))
        ids = read_ids(record[self.keys.file], record.get(self.keys.table), ignored)
        canvas.add_class_map(ids, metadata, self)

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """The class of the highest score."""
        canvas.add_class_map(prediction.argmax(dim=0).cpu().numpy(), metadata, self)

    def draw_result(self, canvas: Canvas, result: ClassMap, metadata: Any) -> None:
        """The class of each pixel."""
        canvas.add_class_map(result.ids, metadata, self)
