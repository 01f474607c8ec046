"""Whether the augmentations of a config exist and can be applied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from mtl_d2.calls import CallError
from mtl_d2.data.augmentations import build_augmentations
from mtl_d2.data.mapper import seeded

TRIAL = (480, 640)  # (height, width) of an image


def check_augmentations(cfg: CfgNode) -> Iterator[str]:
    """A line for each of ``INPUT.AUGMENTATIONS`` that cannot be built, or fails on a grey image."""
    given = cfg.INPUT.AUGMENTATIONS
    if given and cfg.INPUT.CROP.ENABLED:
        yield "INPUT.CROP.ENABLED is True, but INPUT.AUGMENTATIONS takes its place: add 'RandomCrop(...)' there"
    for text in given if isinstance(given, list | tuple) else ():
        alone = cfg.clone()
        alone.defrost()
        alone.INPUT.AUGMENTATIONS = (text,)
        try:
            (augmentation,) = build_augmentations(alone, is_train=True)
            trial = T.AugInput(_grey(cfg.INPUT.FORMAT))
            with seeded(0, 0):
                augmentation(trial)
            if 0 in trial.image.shape:
                yield f"INPUT.AUGMENTATIONS: {text!r} leaves nothing of an image of {TRIAL}: correct its arguments"
        except CallError as error:
            yield f"INPUT.AUGMENTATIONS: {error}"
        except Exception as error:  # noqa: BLE001  # whatever the code of an augmentation raises
            yield f"INPUT.AUGMENTATIONS: {text!r} fails on a grey image of {TRIAL} ({type(error).__name__}: {error})"


def _grey(image_format: str) -> np.ndarray:
    """(H, W, C) as ``detection_utils.read_image`` gives images of a format: of 8 bits, but for YUV."""
    channels, kind = (1 if image_format == "L" else 3), (float if image_format.startswith("YUV") else np.uint8)
    return np.full((*TRIAL, channels), 128, kind)
