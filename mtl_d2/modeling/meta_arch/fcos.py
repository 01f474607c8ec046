"""FCOS, with heads of any other tasks on its feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from mtl_d2.modeling.heads.box_watch import SIDES, BoxWatch, living_sides
from mtl_d2.modeling.heads.candidates import best_of_level
from mtl_d2.modeling.heads.map_head import DetectorHead
from mtl_d2.modeling.heads.normalizer import move_normalizer, normalizer_of, register_normalizers
from mtl_d2.modeling.heads.partial_classes import annotated_of, negatives_left_out
from mtl_d2.modeling.heads.regions import points_left_out, without_loss
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.modeling.precision import not_half
from mtl_d2.options import Option, declare, number, whole
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Size, TaskHead
from mtl_d2.tasks.sources import label_sources
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource, Task

OPTIONS = {
    "NUM_CLASSES": whole(80, "Number of object classes, background not counted."),
    "IN_FEATURES": Option(
        ["p3", "p4", "p5", "p6", "p7"],
        "Pyramid levels of the detection head, fine to coarse. FCOS: p3-p7, FCOS-RT: p3-p5. Box sizes are divided "
        "among them by stride: a level of stride s takes boxes whose longest side from the anchor is in (4s, 8s).",
    ),
    "NUM_CONVS": whole(4, "3x3 convolutions in each of the two branches.", least=0),
    "NORM": Option("GN", 'Normalization of those convolutions: "", "GN", "BN", ...'),
    "PRIOR_PROB": number(0.01, "Initial probability of an object at each anchor point.", above=0, below=1),
    "BOX_BIAS": number(
        2.0,
        "Initial distance of each side of a predicted box from its anchor point, in strides. 0.0 is detectron2's: "
        "boxes without area have no gradient, nor has what is below its ReLU; a side can die in the first updates.",
        least=0,
    ),
    "CENTER_SAMPLING_RADIUS": number(
        1.5, "An anchor point is positive only within this many strides of the centre of its box.", least=0
    ),
    "FOCAL_LOSS_ALPHA": number(0.25, "alpha of the focal loss; negative for none."),
    "FOCAL_LOSS_GAMMA": number(2.0, "gamma of the focal loss.", least=0),
    "SCORE_THRESH_TEST": number(0.05, "Detections below this score are dropped.", least=0, most=1),
    "TOPK_CANDIDATES_TEST": whole(1000, "Candidates of each level before non-maximum suppression."),
    "NMS_THRESH_TEST": number(0.6, "IoU of non-maximum suppression.", least=0, most=1),
}
declare("MODEL.FCOS", OPTIONS)


@META_ARCH_REGISTRY.register()
class MultiTaskFCOS(MultiTaskMixin, FCOS):
    """detectron2's FCOS and heads of other tasks on one feature pyramid; a task that is not configured has no head.

    Paper: FCOS (Tian et al.), Panoptic FPN's semantic head (Kirillov et al.); the network of MCLGS's BDD100K setup.
    Differs from: detectron2's FCOS in its loss normalizer: the moving average is of the positives of all processes,
    stands still in an update without any, and is a buffer, so that checkpoints hold it. Points in a sample's
    ``regions_left_out`` have no loss unless they are an object's, nor has a class where it is not annotated and no
    object's. ``MODEL.FCOS.BOX_BIAS`` is 0.0 in detectron2.
    """

    brings = ("detection",)
    classes_option = "MODEL.FCOS.NUM_CLASSES"

    loss_normalizer: Tensor
    _decode_per_level_predictions = best_of_level

    @configurable
    def __init__(
        self,
        *,
        tasks: tuple[str, ...],
        head: nn.Module | None,
        layers: Mapping[str, nn.Module],
        label_sources: Sequence[LabelSource] = (GROUND_TRUTH,),
        **kwargs: Any,
    ) -> None:
        """Args as ``from_config`` makes them.

        Args:
            tasks: their names.
            head: None where nothing is detected.
            layers: of the tasks that are not FCOS's own.
            label_sources: of all tasks.
            **kwargs: of ``FCOS``.
        """
        super().__init__(head=head, **kwargs)
        self.set_heads(tasks, layers, label_sources)
        register_normalizers(self, label_sources, 300.0)
        self._share = torch.ones(())  # of this process in the normalizer
        self._watch = BoxWatch()

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MTL.TASKS``, ``cfg.MODEL.FCOS`` and ``cfg.MODEL.SEM_SEG_HEAD``."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        options = cfg.MODEL.FCOS
        levels = list(options.IN_FEATURES)
        channels = shapes[levels[0]].channels
        head = None
        if "detection" in cfg.MTL.TASKS:
            head = FCOSHead(
                input_shape=[shapes[name] for name in levels],
                num_classes=options.NUM_CLASSES,
                conv_dims=[channels] * options.NUM_CONVS,
                norm=narrow_norm(options.NORM),
                prior_prob=options.PRIOR_PROB,
            )
            nn.init.constant_(head.bbox_pred.bias, options.BOX_BIAS)
        return {
            "tasks": tuple(cfg.MTL.TASKS),
            "backbone": backbone,
            "head": head,
            "layers": cls.build_task_layers(cfg, shapes),
            "label_sources": label_sources(cfg),
            "head_in_features": levels,
            "num_classes": options.NUM_CLASSES,
            "center_sampling_radius": options.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": options.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": options.FOCAL_LOSS_GAMMA,
            "test_score_thresh": options.SCORE_THRESH_TEST,
            "test_topk_candidates": options.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": options.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def detector_heads(self) -> list[TaskHead]:
        """The detection head, where there is one."""
        if self.head is None:
            return []
        terms = ("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr")
        task = Task("detection", terms, ("head",))
        levels = self.head_in_features
        losses, of_outputs = self._detection_losses, self._losses_of_outputs
        return [DetectorHead(task, levels, losses, self._head_outputs, "instances", self._detect, of_outputs)]

    def _detection_losses(
        self, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        outputs = self._head_outputs(features) if samples else []
        return self._losses_of_outputs(outputs, samples, reduction, GROUND_TRUTH)

    def _losses_of_outputs(
        self, outputs: list[Tensor], samples: list[dict], reduction: Reduction, source: LabelSource
    ) -> dict[str, Tensor]:
        if not samples:
            self._count(torch.zeros(1 + len(SIDES), device=self.device), reduction, source)
            return {}
        count = len(self.head_in_features)
        levels = outputs[:count]  # as large as the features
        by_kind = [outputs[k * count : (k + 1) * count] for k in range(3)]
        predictions = self._transpose_dense_predictions(by_kind, [self.num_classes, 4, 1])
        logits, deltas, centerness = ([not_half(level) for level in of_kind] for of_kind in predictions)
        anchors = self.anchor_generator(levels)
        instances = [_with_a_box(sample["instances"]).to(self.device) for sample in samples]
        labels, boxes = self.label_anchors(anchors, instances)
        positive = torch.stack(labels) != self.num_classes  # (N, R)
        self._count(living_sides(deltas, positive), reduction, source)
        self._share = (normalizer_of(self, source) / reduction.world_size).to(logits[0].dtype)
        left_out = points_left_out(anchors, labels, self.num_classes, samples)
        if left_out is not None:
            logits = without_loss(logits, left_out[..., None])
        annotated = annotated_of(samples, self.num_classes, self.device)
        if annotated is not None:
            logits = without_loss(logits, negatives_left_out(torch.stack(labels), annotated))
        finite = torch.stack([level.detach().isfinite().all() for level in deltas]).all()
        # Of boxes that are not finite the losses would only assert, and on this process alone.
        losses = self.losses(anchors, logits, labels, [d.where(finite, 0.0) for d in deltas], boxes, centerness)
        return {key: loss.where(finite, torch.nan) for key, loss in losses.items()}

    def _count(self, counts: Tensor, reduction: Reduction, source: LabelSource) -> None:
        """Moves the normalizer of a source of labels by the positives of all processes.

        Args:
            counts: of this process, positives first; see ``living_sides``.
            reduction: sums them.
            source: of the labels.
        """
        counts = reduction.total(counts.double())
        move_normalizer(normalizer_of(self, source), counts[0])
        self._watch(counts, get_event_storage().iter)

    def _ema_update(self, name: str, value: float, initial_value: float, momentum: float = 0.9) -> Any:
        """What detectron2 divides this process's losses by: a tensor, so that nothing waits for the device.

        detectron2 hands in this process's own count, which is left aside; ``initial_value`` is the buffer's.
        """
        return self._share

    def _head_outputs(self, features: dict[str, Tensor]) -> list[Tensor]:
        return list(chain(*self.head([features[name] for name in self.head_in_features])))

    def _detect(self, features: dict[str, Tensor], images: Any, sizes: Sequence[Size]) -> list[Instances]:
        levels = [features[name] for name in self.head_in_features]
        detected = self.forward_inference(images, levels, self.head(levels))
        return [detector_postprocess(output, *size) for output, size in zip(detected, sizes, strict=True)]


def _with_a_box(instances: Instances) -> Instances:
    """``instances``, or for an image without any a single box far outside that no anchor matches.

    detectron2 0.6 fails on an image without boxes; with this one every anchor of the image is background.
    """
    if len(instances):
        return instances
    far = torch.tensor([[-2e6, -2e6, -2e6 + 1, -2e6 + 1]])
    return Instances(instances.image_size, gt_boxes=Boxes(far), gt_classes=torch.zeros(1, dtype=torch.long))
