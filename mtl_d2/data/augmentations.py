"""The augmentations of a config: detectron2's, this package's and one's own, named with their arguments."""

from __future__ import annotations

import difflib

from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.transforms import augmentation_impl

from mtl_d2.calls import Call, CallError, parse_call, takes, wrong_arguments
from mtl_d2.data.jitter import AUGMENTATIONS
from mtl_d2.data.scale_crop import RandomScaleCrop
from mtl_d2.options import Option, declare

declare(
    "INPUT",
    {
        "AUGMENTATIONS": Option(
            (),
            "augmentations of training images and their labels, in this order, such as "
            "`['ResizeScale(0.5, 2.0, 512, 1024)', 'FixedSizeCrop((512, 1024))', 'RandomFlip()']`; empty = those of "
            "the keys MIN_SIZE_TRAIN, MAX_SIZE_TRAIN, CROP and RANDOM_FLIP, which they otherwise replace",
            "a list of texts, each a name with arguments",
            lambda value: isinstance(value, list | tuple) and all(isinstance(item, str) for item in value),
        ),
        "TEST_SIZE": Option(
            (),
            "height and width that test images are resized to, whatever their own are; empty = by MIN_SIZE_TEST and "
            "MAX_SIZE_TEST, which keep the aspect ratio",
            "empty, or 2 whole numbers >= 1",
            lambda value: len(value) in (0, 2) and all(isinstance(n, int) and n >= 1 for n in value),
        ),
    },
)
_CROPS = (T.RandomCrop, T.FixedSizeCrop, T.RandomCrop_CategoryAreaConstraint, RandomScaleCrop)


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentations of ``INPUT``, in their order.

    Args:
        cfg: of the run.
        is_train: whether of images for training; those of tests are only resized.

    Raises:
        CallError: one of ``INPUT.AUGMENTATIONS`` does not exist or does not take its arguments.
    """
    if is_train and cfg.INPUT.AUGMENTATIONS:
        return [_built(parse_call(text), cfg) for text in cfg.INPUT.AUGMENTATIONS]
    if not is_train and cfg.INPUT.TEST_SIZE:
        return [T.Resize(tuple(cfg.INPUT.TEST_SIZE))]
    augmentations = utils.build_augmentation(cfg, is_train)
    if is_train and cfg.INPUT.CROP.ENABLED:
        augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    return augmentations


def cuts_objects(cfg: CfgNode) -> bool:
    """Whether an object's mask may tell its box in the augmented image better than its transformed box does."""
    return bool(cfg.INPUT.CROP.ENABLED or cfg.INPUT.AUGMENTATIONS)


def cuts_polygons(cfg: CfgNode) -> bool:
    """Whether a crop of training images is among them, for which polygons are cut."""
    augmentations = build_augmentations(cfg, is_train=True)
    return any(isinstance(_innermost(one), _CROPS) for one in augmentations)


def _innermost(augmentation: T.Augmentation) -> T.Augmentation:
    """What ``RandomApply`` applies, if it is one."""
    return _innermost(augmentation.aug) if isinstance(augmentation, T.RandomApply) else augmentation


def _built(call: Call, cfg: CfgNode) -> T.Augmentation:
    known = {name: getattr(augmentation_impl, name) for name in augmentation_impl.__all__} | dict(AUGMENTATIONS)
    if call.name not in known:
        near = difflib.get_close_matches(call.name, known, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise CallError(f"{call.name} is none of {', '.join(known)}{guess}")
    kind = known[call.name]
    args = [_built(argument, cfg) if isinstance(argument, Call) else argument for argument in call.args]
    kwargs = {
        key: _built(argument, cfg) if isinstance(argument, Call) else argument for key, argument in call.kwargs.items()
    }
    told = {"image_format": cfg.INPUT.FORMAT, "seg_pad_value": 0}  # 255, upstream's, would be part of a mask
    kwargs |= {key: value for key, value in told.items() if takes(kind, key) and key not in kwargs}
    wrong = wrong_arguments(kind, *args, **kwargs)
    if wrong:
        raise CallError(f"{call.name}: {wrong}")
    try:
        return kind(*args, **kwargs)
    except (ValueError, TypeError, AssertionError) as error:
        raise CallError(f"{call.name}: {error}") from error
