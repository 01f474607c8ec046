"""RetinaNet, with heads of any other tasks on its feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.heads.anchor_labels import IGNORED, atss, labelled, without_regions
from mtl_d2.modeling.heads.anchor_losses import BOX_LOSSES, TARGETS, focal_loss
from mtl_d2.modeling.heads.bottleneck_head import BottleneckHead
from mtl_d2.modeling.heads.candidates import best_of_level
from mtl_d2.modeling.heads.map_head import DetectorHead
from mtl_d2.modeling.heads.normalizer import move_normalizer, normalizer_of, register_normalizers
from mtl_d2.modeling.heads.partial_classes import annotated_of, negatives_left_out
from mtl_d2.modeling.heads.regions import SURELY_NOT
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.modeling.precision import not_half
from mtl_d2.options import choice, declare, number, whole
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Size, TaskHead
from mtl_d2.tasks.sources import label_sources
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource, Task

OPTIONS = {  # beside detectron2's own
    "HEAD": choice(
        "retinanet",
        "layers: `retinanet` is detectron2's two branches of NUM_CONVS 3x3 convolutions, `mbconv` one inverted "
        "bottleneck for classes and one for boxes on each level",
        ("retinanet", "mbconv"),
    ),
    "MATCHING": choice(
        "iou",
        "which anchors learn which objects: `iou` is detectron2's by IOU_THRESHOLDS and IOU_LABELS, `atss` adaptive "
        "training sample selection, without thresholds and ignored anchors",
        ("iou", "atss"),
    ),
    "ATSS_CANDIDATES": whole(
        9, "k of ATSS: the nearest points of each level, with all anchors at them, are candidates for an object"
    ),
    "CLASSIFICATION_TARGET": choice(
        "hard", "of the class of an anchor's object: `hard` is 1, `iou` the IoU of its predicted box", tuple(TARGETS)
    ),
    "BBOX_REG_LOSS_WEIGHT": number(1.0, "factor of the box loss", above=0),
}
declare("MODEL.RETINANET", OPTIONS)


@META_ARCH_REGISTRY.register()
class MultiTaskRetinaNet(MultiTaskMixin, RetinaNet):
    """detectron2's RetinaNet and heads of other tasks on one feature pyramid.

    Paper: RetinaNet (Lin et al., ICCV 2017); by its options the detector of Yun, Cho, Achievement-based training
        progress balancing for multi-task learning, ICCV 2023.
    Differs from: detectron2's RetinaNet in its loss normalizer: the moving average is of the positives of all
        processes, stands still in an update without any, and is a buffer, so that checkpoints hold it. Anchors in a
        sample's ``regions_left_out`` have no loss unless they are an object's, nor has a class where it is not
        annotated and no object's. In the code of Yun and Cho both losses are divided by the positives of the process's
        batch, and images without boxes have no loss.
    """

    brings = ("detection",)
    classes_option = "MODEL.RETINANET.NUM_CLASSES"

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
        matching: str = "iou",
        atss_candidates: int = 9,
        classification_target: str = "hard",
        box_reg_loss_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Args as the keys of ``OPTIONS`` have them, and detectron2's.

        Args:
            tasks: their names.
            head: None where nothing is detected.
            layers: of the tasks that are not RetinaNet's own.
            label_sources: of all tasks.
            matching: "iou" or "atss".
            atss_candidates: points of each level.
            classification_target: a key of ``TARGETS``.
            box_reg_loss_weight: factor of the box loss.
            **kwargs: of ``RetinaNet``.
        """
        super().__init__(head=head, **kwargs)
        self.set_heads(tasks, layers, label_sources)
        self._label = {"iou": super().label_anchors, "atss": self._label_by_atss}[matching]
        self._candidates = [atss_candidates * anchors for anchors in self.anchor_generator.num_cell_anchors]
        self._target = TARGETS[classification_target]
        self._box_loss, self._box_weight = BOX_LOSSES[self.box_reg_loss_type], box_reg_loss_weight
        register_normalizers(self, label_sources, 100.0)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MTL.TASKS``, ``cfg.MODEL.RETINANET`` and the tasks' own keys."""
        backbone = build_backbone(cfg)
        shapes, options = backbone.output_shape(), cfg.MODEL.RETINANET
        levels = [shapes[name] for name in options.IN_FEATURES]
        anchor_generator = build_anchor_generator(cfg, levels)
        detects = "detection" in cfg.MTL.TASKS
        return {
            "tasks": tuple(cfg.MTL.TASKS),
            "backbone": backbone,
            "head": _HEADS[options.HEAD](options, levels, anchor_generator.num_cell_anchors[0]) if detects else None,
            "layers": cls.build_task_layers(cfg, shapes),
            "label_sources": label_sources(cfg),
            "head_in_features": list(options.IN_FEATURES),
            "anchor_generator": anchor_generator,
            "box2box_transform": Box2BoxTransform(weights=options.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(options.IOU_THRESHOLDS, options.IOU_LABELS, allow_low_quality_matches=True),
            "matching": options.MATCHING,
            "atss_candidates": options.ATSS_CANDIDATES,
            "num_classes": options.NUM_CLASSES,
            "focal_loss_alpha": options.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": options.FOCAL_LOSS_GAMMA,
            "classification_target": options.CLASSIFICATION_TARGET,
            "smooth_l1_beta": options.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": options.BBOX_REG_LOSS_TYPE,
            "box_reg_loss_weight": options.BBOX_REG_LOSS_WEIGHT,
            "test_score_thresh": options.SCORE_THRESH_TEST,
            "test_topk_candidates": options.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": options.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """One sentence for each thing in ``cfg`` that this model cannot do."""
        mistakes, options, anchors = super().check(cfg), cfg.MODEL.RETINANET, cfg.MODEL.ANCHOR_GENERATOR
        if "detection" not in cfg.MTL.TASKS:
            return mistakes
        if options.BBOX_REG_LOSS_TYPE not in BOX_LOSSES:
            mistakes.append(
                unknown("MODEL.RETINANET.BBOX_REG_LOSS_TYPE", options.BBOX_REG_LOSS_TYPE, tuple(BOX_LOSSES))
            )
        levels = len(options.IN_FEATURES)
        for key in ("SIZES", "ASPECT_RATIOS"):
            lengths = [len(of_level) for of_level in anchors[key]]
            if len(lengths) not in (1, levels) or len(set(lengths)) > 1:
                mistakes.append(
                    f"MODEL.ANCHOR_GENERATOR.{key} must be one list, or one of the same length for each of the "
                    f"{levels} levels of MODEL.RETINANET.IN_FEATURES; got lists of {lengths}"
                )
        return mistakes

    def detector_heads(self) -> list[TaskHead]:
        """The detection head, where there is one."""
        if self.head is None:
            return []
        task, levels = Task("detection", ("loss_cls", "loss_box_reg"), ("head",)), self.head_in_features
        losses, of_outputs = self._detection_losses, self._losses_of_outputs
        return [DetectorHead(task, levels, losses, self._head_outputs, "instances", self._detect, of_outputs)]

    def _label_by_atss(self, anchors: list[Boxes], targets: list[Instances]) -> tuple[list[Tensor], list[Tensor]]:
        """As ``RetinaNet.label_anchors``."""
        objects = [atss(anchors, target.gt_boxes, self._candidates) for target in targets]
        pairs = [labelled(*of_image, self.num_classes) for of_image in zip(objects, targets, strict=True)]
        labels, boxes = zip(*pairs, strict=True)
        return list(labels), list(boxes)

    @torch.no_grad()
    def label_anchors(self, anchors: list[Boxes], gt_instances: list[Instances]) -> tuple[list[Tensor], list[Tensor]]:
        """Class ids (R,), with ``num_classes`` for background and -1 for no loss, and boxes (R, 4), for each image."""
        return self._label(anchors, gt_instances)

    def _detection_losses(
        self, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        outputs = self._head_outputs(features) if samples else []
        return self._losses_of_outputs(outputs, samples, reduction, GROUND_TRUTH)

    def _losses_of_outputs(
        self, outputs: list[Tensor], samples: list[dict], reduction: Reduction, source: LabelSource
    ) -> dict[str, Tensor]:
        if not samples:
            self._count(torch.zeros((), device=self.device), reduction, source)
            return {}
        count = len(self.head_in_features)
        levels = outputs[:count]  # as large as the features
        predictions = self._transpose_dense_predictions([levels, outputs[count:]], [self.num_classes, 4])
        logits, deltas = (not_half(torch.cat(of_kind, dim=1)) for of_kind in predictions)  # (N, R, K), (N, R, 4)
        anchors = self.anchor_generator(levels)
        instances = [sample["instances"].to(self.device) for sample in samples]
        of_images, boxes = self.label_anchors(anchors, instances)
        together = Boxes.cat(anchors)
        labels = torch.stack(
            [
                without_regions(of_image, together, self.num_classes, sample)
                for of_image, sample in zip(of_images, samples, strict=True)
            ]
        )  # (N, R)
        self._count(((labels != IGNORED) & (labels != self.num_classes)).sum(), reduction, source)
        annotated = annotated_of(samples, self.num_classes, self.device)
        if annotated is not None:
            logits = logits.masked_fill(negatives_left_out(labels, annotated), SURELY_NOT)
        losses = self._losses(logits, deltas, labels, torch.stack(boxes), together.tensor)
        share = (normalizer_of(self, source) / reduction.world_size).to(logits.dtype)
        return {key: loss / share for key, loss in losses.items()}

    def _losses(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, boxes: Tensor, anchors: Tensor
    ) -> dict[str, Tensor]:
        """Both losses, as sums.

        Args:
            logits: (N, R, K).
            deltas: (N, R, 4) of boxes from their anchors.
            labels: (N, R) class ids, K for background, ``IGNORED`` for no loss.
            boxes: (N, R, 4) of each anchor's object.
            anchors: (R, 4).
        """
        finite = deltas.detach().isfinite().all()
        # Of boxes that are not finite the losses would only assert, and on this process alone.
        deltas = deltas.where(finite, 0.0)
        positive = (labels != IGNORED) & (labels != self.num_classes)
        objects = deltas[positive], anchors.expand_as(boxes)[positive], boxes[positive]  # (P, 4) each
        target = F.one_hot(labels.clamp(min=0), self.num_classes + 1)[..., :-1].to(logits.dtype)  # (N, R, K)
        target[positive] *= self._target(*objects, self.box2box_transform)[:, None].to(logits.dtype)
        counted = labels != IGNORED
        of_classes = focal_loss(logits[counted], target[counted], self.focal_loss_alpha, self.focal_loss_gamma)
        of_boxes = self._box_loss(*objects, self.box2box_transform, self.smooth_l1_beta) * self._box_weight
        losses = {"loss_cls": of_classes, "loss_box_reg": of_boxes}
        return {key: loss.where(finite, torch.nan) for key, loss in losses.items()}

    def _count(self, positives: Tensor, reduction: Reduction, source: LabelSource) -> None:
        """Moves the normalizer of a source of labels by the positives of all processes.

        Args:
            positives: anchors of objects, of this process.
            reduction: sums them.
            source: of the labels.
        """
        move_normalizer(normalizer_of(self, source), reduction.total(positives.double()))

    def _head_outputs(self, features: dict[str, Tensor]) -> list[Tensor]:
        return list(chain(*self.head([features[name] for name in self.head_in_features])))

    def _detect(self, features: dict[str, Tensor], images: Any, sizes: Sequence[Size]) -> list[Instances]:
        levels = [features[name] for name in self.head_in_features]
        predictions = [[not_half(level) for level in output] for output in self.head(levels)]
        detected = self.forward_inference(images, levels, predictions)
        return [detector_postprocess(output, *size) for output, size in zip(detected, sizes, strict=True)]


def _retinanet_head(options: CfgNode, levels: list[Any], num_anchors: int) -> RetinaNetHead:
    return RetinaNetHead(
        input_shape=levels,
        num_classes=options.NUM_CLASSES,
        num_anchors=num_anchors,
        conv_dims=[levels[0].channels] * options.NUM_CONVS,
        norm=narrow_norm(options.NORM),
        prior_prob=options.PRIOR_PROB,
    )


def _bottleneck_head(options: CfgNode, levels: list[Any], num_anchors: int) -> BottleneckHead:
    return BottleneckHead(
        levels,
        num_classes=options.NUM_CLASSES,
        num_anchors=num_anchors,
        norm=options.NORM,
        prior_prob=options.PRIOR_PROB,
    )


_HEADS = {"retinanet": _retinanet_head, "mbconv": _bottleneck_head}
