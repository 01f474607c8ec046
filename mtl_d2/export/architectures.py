"""What an export asks of a meta-architecture; of one's own the defaults hold, or one registers another answer."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from torch import Tensor, nn

from mtl_d2.modeling.heads.map_head import DetectorHead
from mtl_d2.modeling.meta_arch.classifier import FEATURES, MultiTaskClassifier
from mtl_d2.modeling.meta_arch.fcos import MultiTaskFCOS
from mtl_d2.modeling.meta_arch.rcnn import MultiTaskRCNN
from mtl_d2.modeling.meta_arch.retinanet import MultiTaskRetinaNet
from mtl_d2.tasks.base import Sample

MASKS = "mask_probabilities"  # field of exported objects: (M, S, S), each mask in the frame of its box


@singledispatch
def predictions(model: nn.Module, sample: Sample) -> dict[str, Any]:
    """The predictions for one image by their keys, in operations on tensors alone.

    Args:
        model: in evaluation mode.
        sample: ``image`` (C, H, W), and ``height`` and ``width`` as stored, which may be tensors.
    """
    return model.inference([sample])[0]  # type: ignore[operator]


@singledispatch
def most_kept(model: nn.Module) -> tuple[int, ...]:
    """How many boxes the network keeps at most of each of its non-maximum suppressions, in their order."""
    return ()


@singledispatch
def thresholded(model: nn.Module) -> tuple[Any, ...]:
    """What has, as ``test_score_thresh``, the score above which objects are found."""
    return ()


@singledispatch
def fixed_shape(model: nn.Module, cfg: CfgNode) -> tuple[int, int, int] | None:
    """Channels, height and width of the only images that the network takes; None = of any height and width."""
    return None


@most_kept.register(MultiTaskFCOS)
@most_kept.register(MultiTaskRetinaNet)
def _of_dense_detector(model: Any) -> tuple[int, ...]:
    return (model.max_detections_per_image,) if model.head is not None else ()


@most_kept.register(MultiTaskRCNN)
def _of_two_stages(model: Any) -> tuple[int, ...]:
    if model.roi_heads is None:
        return ()
    return model.proposal_generator.post_nms_topk[False], model.roi_heads.box_predictor.test_topk_per_image


@thresholded.register(MultiTaskFCOS)
@thresholded.register(MultiTaskRetinaNet)
def _itself(model: Any) -> tuple[Any, ...]:
    return (model,) if model.head is not None else ()


@thresholded.register(MultiTaskRCNN)
def _box_branch(model: Any) -> tuple[Any, ...]:
    return (model.roi_heads.box_predictor,) if model.roi_heads is not None else ()


@predictions.register(MultiTaskRCNN)
def _with_masks_in_boxes(model: Any, sample: Sample) -> dict[str, Any]:
    """Masks stay as the mask branch gives them: how many are pasted where would be fixed by the graph."""
    images = model.preprocess_image([sample])
    features = model.shared_features(images.tensor)
    of_image = images.image_sizes[0]
    size = sample.get("height", of_image[0]), sample.get("width", of_image[1])
    predicted = {}
    for head in model.task_heads.values():
        if isinstance(head, DetectorHead) and head.output_key is not None:
            predicted[head.output_key] = _unpasted(model, features, images, size)
        elif head.output_key is not None:
            predicted[head.output_key] = head.predict(features, images, [size])[0]
    return predicted


def _unpasted(model: Any, features: dict[str, Tensor], images: Any, size: tuple[Any, Any]) -> Instances:
    proposals, _ = model.proposal_generator(images, features, None)
    (objects,), _ = model.roi_heads(images, features, proposals, None)
    if objects.has("pred_masks"):
        objects.set(MASKS, objects.pred_masks[:, 0])
        objects.remove("pred_masks")
    return detector_postprocess(objects, *size)


@predictions.register(MultiTaskClassifier)
def _probabilities(model: Any, sample: Sample) -> dict[str, Any]:
    """Of each task's classes, (K,)."""
    features = model.shared_features(model.batch_images([sample]))
    return {task: head(features[FEATURES])[0].softmax(0) for task, head in model.heads.items()}


@fixed_shape.register(MultiTaskClassifier)
def _as_configured(model: nn.Module, cfg: CfgNode) -> tuple[int, int, int] | None:
    channels, height, width = cfg.MODEL.CLASSIFIER.INPUT_SHAPE
    return channels, height, width
