"""The networks that ``benchmark_inference.py`` measures: ours, and detectron2's over the same modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from benchmark_models import MODELS
from benchmark_variants import CONFIGS, shrink_residuals
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch import GeneralizedRCNN, PanopticFPN, SemanticSegmentor
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from torch import nn

from mtl_d2.config import add_mtl_config, merge_config

SEMANTIC, DETECTION, INSTANCE = "semantic", "detection", "instance"
CANDIDATES = 500  # for an object, before non-maximum suppression


def build(name: str, device: str, classes: int, further: Sequence[str] = ()) -> nn.Module:
    """The network with its semantic head and those of ``further`` tasks; its weights are drawn."""
    known = MODELS[name]
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(CONFIGS / known.config), list(known.overrides))
    cfg.MTL.TASKS = tuple(dict.fromkeys((*known.tasks, SEMANTIC, *further)))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = classes
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNEntropyHead"
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    shrink_residuals(model)
    return model


def set_thresholds(model: Any, samples: list[dict]) -> None:
    """Makes of the drawn scores of boxes ``CANDIDATES`` high enough."""
    images = model.preprocess_image(samples)
    features = model.shared_features(images.tensor)
    if isinstance(model, FCOS):
        logits, _, centerness = model.head([features[level] for level in model.head_in_features])
        pairs = zip(logits, centerness, strict=True)
        scores = torch.cat([(a.sigmoid() * b.sigmoid()).sqrt().flatten() for a, b in pairs])
        model.test_score_thresh = threshold(scores)
        return
    heads = model.roi_heads
    proposals, _ = model.proposal_generator(images, features, None)
    pooled = heads.box_pooler(
        [features[level] for level in heads.box_in_features], [p.proposal_boxes for p in proposals]
    )
    probabilities = heads.box_predictor.predict_probs(heads.box_predictor(heads.box_head(pooled)), proposals)
    heads.box_predictor.test_score_thresh = threshold(torch.cat([p[:, :-1].flatten() for p in probabilities]))


def threshold(scores: torch.Tensor) -> float:
    """Below the ``CANDIDATES`` highest."""
    return float(scores.sort(descending=True).values[min(CANDIDATES, len(scores) - 1)])


class Uncombined(PanopticFPN):
    """detectron2's PanopticFPN without the picture that it makes of objects and pixels, which ours does not make."""

    def inference(self, batched_inputs: list[dict], do_postprocess: bool = True) -> Any:
        """Boxes, masks and scores at the size of the stored images."""
        objects, pixels = super().inference(batched_inputs, do_postprocess=False)
        sizes = [(sample["height"], sample["width"]) for sample in batched_inputs]
        seen = [tuple(sample["image"].shape[1:]) for sample in batched_inputs]
        return [
            {"instances": detector_postprocess(o, *size), "sem_seg": sem_seg_postprocess(p, shape, *size)}
            for o, p, shape, size in zip(objects, pixels, seen, sizes, strict=True)
        ]


def detectron2_networks(model: Any) -> dict[str, nn.Module]:
    """detectron2's over the modules of ``model``, by their names; the first is the largest that it has of them."""
    mean, std = model.pixel_mean.flatten().tolist(), model.pixel_std.flatten().tolist()
    given: dict[str, Any] = {"backbone": model.backbone, "pixel_mean": mean, "pixel_std": std}
    networks: dict[str, nn.Module] = {}
    if isinstance(model, FCOS):
        options = (
            *("head", "head_in_features", "num_classes", "test_score_thresh", "test_topk_candidates"),
            *("test_nms_thresh", "max_detections_per_image"),
        )
        networks["FCOS"] = FCOS(**given, **{name: getattr(model, name) for name in options})
    else:
        given |= {"proposal_generator": model.proposal_generator, "roi_heads": model.roi_heads}
        networks["PanopticFPN"] = PanopticFPN(**given, sem_seg_head=model.sem_seg_head)
        networks["PanopticFPN, not combined"] = Uncombined(**given, sem_seg_head=model.sem_seg_head)
        networks["Mask R-CNN"] = GeneralizedRCNN(**given)
    plain = {name: given[name] for name in ("backbone", "pixel_mean", "pixel_std")}
    networks["SemanticSegmentor"] = SemanticSegmentor(**plain, sem_seg_head=model.sem_seg_head)
    return {name: network.eval().to(model.device) for name, network in networks.items()}
