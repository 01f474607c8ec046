"""Mask R-CNN whose branches are tasks, with heads of any other tasks on its feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.structures import Instances
from torch import Tensor, nn

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.heads.map_head import DetectorHead
from mtl_d2.modeling.heads.partial_classes import annotated_of, of_annotated
from mtl_d2.modeling.heads.proposals import PROPOSALS, predict, propose, rpn_losses
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.options import choice, declare
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Size, TaskHead
from mtl_d2.tasks.sources import label_sources
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource, Task

BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")
OPTIONS = {  # beside detectron2's own
    "PARTIAL_NEGATIVES": choice(
        "background",
        "what the RPN learns of anchors without an object on images that are not annotated for all classes, where they "
        "may show one of another class: `background`, or nothing (`ignore`), which needs images annotated for all",
        ("background", "ignore"),
    )
}
declare("MODEL.RPN", OPTIONS)
OF_DETECTION = ("proposal_generator", "roi_heads.box_head", "roi_heads.box_predictor")  # modules


@META_ARCH_REGISTRY.register()
class MultiTaskRCNN(MultiTaskMixin, GeneralizedRCNN):
    """detectron2's Mask R-CNN, and heads of other tasks on its pyramid, with a choice of tasks for each sample.

    Tasks: ``detection`` is RPN and box branch, ``instance`` the mask branch, others have heads on the pyramid; shared
    is the backbone with its pyramid. A sample of detection trains RPN and box branch; a sample of instance alone runs
    the RPN without loss and gradient for its proposals, and no box branch. Each loss is a mean over the images,
    proposals or foreground proposals of its own task's samples, in all processes.

    Paper: Mask R-CNN (He et al.); Panoptic feature pyramid networks (Kirillov et al.); per-sample tasks as in On
    steering multi-annotations per sample for multi-task learning, section 4.3.
    Differs from: detectron2 in nothing where every sample has every task, all classes annotated and no
    ``regions_left_out``, of which RPN and box branch learn nothing; parameters have detectron2's names. Where not all
    classes are annotated the softmax is among the others; see ``MODEL.RPN.PARTIAL_NEGATIVES`` for the RPN. There is no
    instance without detection, which is left untrained in no run of the paper: proposals, and at test time the boxes,
    would be those of a random network.

    With several processes the draws that sample anchors and proposals are each process's own, as in detectron2.
    """

    brings = ("detection", "instance")

    @configurable
    def __init__(
        self,
        *,
        tasks: tuple[str, ...],
        layers: Mapping[str, nn.Module],
        label_sources: Sequence[LabelSource] = (GROUND_TRUTH,),
        partial_negatives: str = "background",
        **kwargs: Any,
    ) -> None:
        """Args beside these are detectron2's.

        Args:
            tasks: their names.
            layers: of those that are not Mask R-CNN's.
            label_sources: of all tasks.
            partial_negatives: as ``MODEL.RPN.PARTIAL_NEGATIVES``.
            **kwargs: of ``GeneralizedRCNN``.

        Raises:
            ValueError: instance comes before detection or without it, or there are proposals from elsewhere.
        """
        mistakes = check_tasks(tasks)
        if "detection" in tasks and kwargs["proposal_generator"] is None:
            mistakes.append("precomputed proposals cannot be trained on; set MODEL.PROPOSAL_GENERATOR.NAME to 'RPN'")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        super().__init__(**kwargs)
        self._partial_negatives = partial_negatives == "background"
        self.set_heads(tasks, layers, label_sources)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MTL.TASKS`` and detectron2's keys of a Mask R-CNN."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        detects = "detection" in cfg.MTL.TASKS
        return {
            "tasks": tuple(cfg.MTL.TASKS),
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes) if detects else None,
            "roi_heads": build_roi_heads(cfg, shapes) if detects else None,
            "layers": cls.build_task_layers(cfg, shapes),
            "label_sources": label_sources(cfg),
            "partial_negatives": cfg.MODEL.RPN.PARTIAL_NEGATIVES,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """One sentence for each thing in ``cfg`` that this model cannot do."""
        model = cfg.MODEL
        mistakes = super().check(cfg) + [
            f"MTL.TASKS {tuple(cfg.MTL.TASKS)}: {line}" for line in check_tasks(cfg.MTL.TASKS)
        ]
        if "detection" not in cfg.MTL.TASKS:
            return mistakes
        for key in ("RPN", "ROI_BOX_HEAD"):
            if model[key].BBOX_REG_LOSS_TYPE not in BOX_LOSSES:
                mistakes.append(unknown(f"MODEL.{key}.BBOX_REG_LOSS_TYPE", model[key].BBOX_REG_LOSS_TYPE, BOX_LOSSES))
        for key, value, needed, why in [
            ("MODEL.PROPOSAL_GENERATOR.NAME", model.PROPOSAL_GENERATOR.NAME, "RPN", "proposals are made in training"),
            ("MODEL.ROI_HEADS.NAME", model.ROI_HEADS.NAME, "StandardROIHeads", "its two branches share no parameter"),
            ("MODEL.MASK_ON", model.MASK_ON, "instance" in cfg.MTL.TASKS, "the mask branch is the task instance"),
            (
                "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES",
                model.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES,
                False,
                "the mask branch runs where the box branch does not",
            ),
        ]:
            if value != needed:
                mistakes.append(f"{key} is {value!r}; MultiTaskRCNN needs {needed!r}: {why}")
        return mistakes

    def detector_heads(self) -> list[TaskHead]:
        """The box branch with the RPN, and the mask branch, whose predictions stand in the box branch's."""
        if self.roi_heads is None:
            return []
        pooled = list(self.roi_heads.box_in_features)
        levels = list(dict.fromkeys([*self.proposal_generator.in_features, *pooled]))
        detection = Task("detection", ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"), OF_DETECTION)
        boxes = DetectorHead(
            detection, levels, self._detection_losses, self._box_outputs, "instances", self._predict_objects
        )
        if not self.roi_heads.mask_on:
            return [boxes]
        instance = Task("instance", ("loss_mask",), ("roi_heads.mask_head",))
        return [boxes, DetectorHead(instance, pooled, self._instance_losses, self._mask_outputs)]

    def _box_outputs(self, features: dict[str, Tensor]) -> list[Tensor]:
        rpn, heads = self.proposal_generator, self.roi_heads
        logits, deltas = rpn.rpn_head([features[name] for name in rpn.in_features])
        pooled = heads.box_pooler([features[name] for name in heads.box_in_features], [])
        return [*logits, *deltas, *heads.box_predictor(heads.box_head(pooled))]

    def _mask_outputs(self, features: dict[str, Tensor]) -> list[Tensor]:
        heads = self.roi_heads
        return [heads.mask_head.layers(heads.mask_pooler([features[name] for name in heads.box_in_features], []))]

    def _predict_objects(self, features: dict[str, Tensor], images: Any, sizes: Sequence[Size]) -> list[Instances]:
        proposals, _ = self.proposal_generator(images, features, None)
        if self.roi_heads.mask_on and not self.wanted.has("instance"):
            detected = self.roi_heads._forward_box(features, proposals)
        else:
            detected, _ = self.roi_heads(images, features, proposals, None)
        wanted = [{"height": height, "width": width} for height, width in sizes]
        return [output["instances"] for output in self._postprocess(detected, wanted, images.image_sizes)]

    def _detection_losses(
        self, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        if not samples:
            self._share([0, 0], reduction)
            return {}
        predictions = predict(self.proposal_generator, features)
        of_rpn = rpn_losses(self.proposal_generator, predictions, samples, self._partial_negatives)
        if any(PROPOSALS not in sample for sample in samples):
            propose(self.proposal_generator, self.roi_heads, predictions, samples)
        proposals = [sample[PROPOSALS] for sample in samples]
        of_boxes = self._box_losses(features, samples, proposals)
        images, boxes = self._share([len(samples), sum(map(len, proposals))], reduction)
        return {k: loss * images for k, loss in of_rpn.items()} | {k: loss * boxes for k, loss in of_boxes.items()}

    def _box_losses(
        self, features: dict[str, Tensor], samples: list[dict], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """detectron2's of the box branch; the softmax is among the classes that an image is annotated for."""
        heads = self.roi_heads
        annotated = annotated_of(samples, heads.num_classes, self.device)
        if annotated is None:
            return heads._forward_box(features, proposals)
        levels = [features[name] for name in heads.box_in_features]
        pooled = heads.box_pooler(levels, [of_image.proposal_boxes for of_image in proposals])
        scores, deltas = heads.box_predictor(heads.box_head(pooled))
        return heads.box_predictor.losses((of_annotated(scores, proposals, annotated), deltas), proposals)

    def _instance_losses(
        self, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        if not samples:
            self._share([0], reduction)
            return {}
        missing = [k for k, sample in enumerate(samples) if PROPOSALS not in sample]
        if missing:
            with torch.no_grad():
                chosen = (
                    features if len(missing) == len(samples) else {name: f[missing] for name, f in features.items()}
                )
                predictions = predict(self.proposal_generator, chosen)
            propose(self.proposal_generator, self.roi_heads, predictions, [samples[k] for k in missing])
        proposals = [sample[PROPOSALS] for sample in samples]
        losses = self.roi_heads._forward_mask(features, proposals)
        (masks,) = self._share([sum(self._foreground(boxes) for boxes in proposals)], reduction)
        return {key: loss * masks for key, loss in losses.items()}

    def _foreground(self, proposals: Instances) -> int:
        classes = proposals.gt_classes
        return int(((classes >= 0) & (classes < self.roi_heads.num_classes)).sum())

    def _share(self, counts: list[int], reduction: Reduction) -> Tensor:
        """What makes local means, over ``counts`` items each, parts of the mean over all processes; 1 for one process.

        A mean over this process's items times its share, averaged over processes, is the mean over all items.
        """
        local = torch.tensor(counts, dtype=torch.float64, device=self.device)
        shares = local / reduction.count(local).clamp(min=1e-6)
        return shares.to(self.pixel_mean.dtype)

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]]:
        """detectron2's output format: ``instances``, and ``sem_seg`` logits (C, H, W), at the original size.

        Args:
            batched_inputs: as for ``forward``.
            detected_instances: known boxes, as detectron2's test-time augmentation gives them.
            do_postprocess: whether to scale to the original size; False gives the list of instances alone.
        """
        if detected_instances is not None or not do_postprocess:
            return GeneralizedRCNN.inference(self, batched_inputs, detected_instances, do_postprocess)
        return super().inference(batched_inputs)


def check_tasks(tasks: tuple[str, ...]) -> list[str]:
    """A sentence for each rule that the names of a ``MultiTaskRCNN``'s tasks break."""
    if "instance" in tasks and "detection" not in tasks[: tuple(tasks).index("instance")]:
        return ["'instance' needs 'detection' before it, which makes and learns its proposals"]
    return []
