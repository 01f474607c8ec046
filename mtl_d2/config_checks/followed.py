"""Keys of detectron2's config that this trainer does not follow: refused where they are not at their default.

All others of detectron2 0.6 and of its main branch are read: by detectron2's builders of backbones, heads, optimizers,
schedules and augmentations, which are called as they are, or by mtl_d2. Two more may have any value:
DATALOADER.ASPECT_RATIO_GROUPING, since a global batch holds what the stream holds, and keys of models that are not
chosen, such as MODEL.RPN with an FCOS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN

from mtl_d2.config import leaves
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.optimizers import not_followed
from mtl_d2.tasks.registry import is_known, kind_of

_NO_KEYPOINTS = "there is no task of keypoints"
_NO_PROPOSALS = "proposals are made in training"
# Why it is not followed. A key that ends with a dot stands for all below it; not every detectron2 has each of them.
NOT_FOLLOWED: Mapping[str, str] = {
    "MODEL.LOAD_PROPOSALS": _NO_PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TRAIN": _NO_PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TEST": _NO_PROPOSALS,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": _NO_PROPOSALS,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": _NO_PROPOSALS,
    "MODEL.KEYPOINT_ON": _NO_KEYPOINTS,
    "MODEL.ROI_KEYPOINT_HEAD.": _NO_KEYPOINTS,
    "TEST.KEYPOINT_OKS_SIGMAS": _NO_KEYPOINTS,
    "MODEL.ROI_BOX_CASCADE_HEAD.": "there are no cascaded box heads",
    "MODEL.PANOPTIC_FPN.": "instances and pixels are not merged; the tasks' weights are those of MTL.SCALARIZATION",
    "TEST.PRECISE_BN.ENABLED": "its passes in training mode would move what losses are normalized by",
    "TEST.PRECISE_BN.NUM_ITER": "there is no precise BN",
    "VIS_PERIOD": "the report has pictures at the end of the training",
    "GLOBAL.HACK": "nothing reads it",
}
SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler")
FLIPS = ("horizontal", "vertical", "none")
FORMATS = ("BGR", "RGB", "L", "YUV-BT.601")
SIZES = ("choice", "range")
MASKS = ("polygon", "bitmask")
CROPS = ("relative_range", "relative", "absolute", "absolute_range")


def check_followed(cfg: CfgNode) -> Iterator[str]:
    """A line for each key that is set and would have no effect, or another one than its name says."""
    defaults = dict(leaves(get_cfg()))
    for key, value in leaves(cfg):
        why = next((why for name, why in NOT_FOLLOWED.items() if key == name or _is_below(key, name)), None)
        if why and key in defaults and _plain(value) != _plain(defaults[key]):
            yield f"{key} is {value!r}, which is not followed: {why}; leave it at {defaults[key]!r}"
    yield from _check_sampler(cfg)
    yield from _check_augmentation(cfg)
    yield from _check_test_time(cfg)
    yield from _check_optimizer(cfg, defaults)


def _is_below(key: str, name: str) -> bool:
    return name.endswith(".") and key.startswith(name)


def _plain(value: Any) -> Any:
    """A value with lists in the place of tuples, as YAML has it: the config that a run leaves can be given again."""
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _check_sampler(cfg: CfgNode) -> Iterator[str]:
    name, threshold = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.REPEAT_THRESHOLD
    if name not in SAMPLERS:
        yield unknown("DATALOADER.SAMPLER_TRAIN", name, SAMPLERS)
    elif name == "TrainingSampler" and threshold:
        yield (
            f"DATALOADER.REPEAT_THRESHOLD is {threshold}, which DATALOADER.SAMPLER_TRAIN 'TrainingSampler' does not "
            "follow: set it to 0.0, or the sampler to 'RepeatFactorTrainingSampler'"
        )
    elif name != "TrainingSampler" and not any(map(_learns_objects, filter(is_known, cfg.MTL.TASKS))):
        yield (
            f"DATALOADER.SAMPLER_TRAIN {name!r} repeats images by the classes of their objects, which no task of "
            f"MTL.TASKS {tuple(cfg.MTL.TASKS)} learns: set it to 'TrainingSampler'"
        )
    elif name != "TrainingSampler" and not 0 < threshold <= 1:
        yield (
            "DATALOADER.REPEAT_THRESHOLD must be a share of the images in (0, 1], below which a class is repeated, got "
            f"{threshold}"
        )


def _learns_objects(task: str) -> bool:
    return kind_of(task).sample_key == "instances"


def _check_augmentation(cfg: CfgNode) -> Iterator[str]:
    """What detectron2 would stumble over at the first image."""
    for key, known in (
        ("RANDOM_FLIP", FLIPS),
        ("MIN_SIZE_TRAIN_SAMPLING", SIZES),
        ("FORMAT", FORMATS),
        ("MASK_FORMAT", MASKS),
    ):
        if cfg.INPUT[key] not in known:
            yield unknown(f"INPUT.{key}", cfg.INPUT[key], known)
    given = cfg.INPUT.MIN_SIZE_TRAIN
    sizes = (given, given) if isinstance(given, int) else tuple(given)
    if min(sizes, default=0) < 1:
        yield f"INPUT.MIN_SIZE_TRAIN must be lengths of the shorter side in pixels, at least one, got {given}"
    elif cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2:
        yield f"INPUT.MIN_SIZE_TRAIN must be (from, to) for INPUT.MIN_SIZE_TRAIN_SAMPLING 'range', got {given}"
    crop = cfg.INPUT.CROP
    if crop.ENABLED and crop.TYPE not in CROPS:
        yield unknown("INPUT.CROP.TYPE", crop.TYPE, CROPS)
    elif crop.ENABLED and crop.TYPE.startswith("relative") and not all(0 < side <= 1 for side in crop.SIZE):
        yield f"INPUT.CROP.SIZE must be shares in (0, 1] for INPUT.CROP.TYPE {crop.TYPE!r}, got {tuple(crop.SIZE)}"


def _check_test_time(cfg: CfgNode) -> Iterator[str]:
    if not cfg.TEST.AUG.ENABLED:
        return
    name = cfg.MODEL.META_ARCHITECTURE
    augmented = name in META_ARCH_REGISTRY and issubclass(META_ARCH_REGISTRY.get(name), GeneralizedRCNN)
    if not augmented or not any(map(_learns_objects, filter(is_known, cfg.MTL.TASKS))):
        yield (
            f"TEST.AUG.ENABLED is True, but detectron2 augments the boxes of a GeneralizedRCNN alone, and {name} with "
            f"MTL.TASKS {tuple(cfg.MTL.TASKS)} has none: set it to False"
        )
    elif not cfg.TEST.AUG.MIN_SIZES:
        yield "TEST.AUG.MIN_SIZES is empty; name the lengths of the shorter side, in pixels"
    elif cfg.MTL.SELECT_BY:
        yield (
            "TEST.AUG.ENABLED evaluates the last model, MTL.SELECT_BY another: set the first to False, and after the "
            "training give --eval-only TEST.AUG.ENABLED True MODEL.WEIGHTS OUTPUT_DIR/model_best.pth"
        )


def _check_optimizer(cfg: CfgNode, defaults: Mapping[str, Any]) -> Iterator[str]:
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.ENABLED and clipping.CLIP_TYPE == "full_model" and clipping.NORM_TYPE != 2:
        yield (
            f"SOLVER.CLIP_GRADIENTS.NORM_TYPE is {clipping.NORM_TYPE}, but CLIP_TYPE 'full_model' takes the Euclidean "
            "norm: leave it at 2.0"
        )
    for key in not_followed(cfg):
        value = cfg.SOLVER[key.partition(".")[2]]
        if value != defaults[key]:
            yield (
                f"{key} is {value}, which MTL.OPTIMIZER {cfg.MTL.OPTIMIZER!r} does not follow: leave it at "
                f"{defaults[key]}"
            )
