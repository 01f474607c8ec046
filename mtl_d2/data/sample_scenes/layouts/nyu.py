"""NYUv2 as arrays, the way MTAN and its successors read it: ``SPLIT/{image,label,depth,normal}/I.npy``, float32.

image (H, W, 3) RGB in 0..1; label (H, W) Cityscapes' train ids, -1 = ignore; depth (H, W, 1) metres, 0 = invalid (sky);
normal (H, W, 3) unit vectors, x right, y down, z forward, towards the camera, all 0 = invalid (sky). A horizontal flip
negates the normal's first component.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtl_d2.data.sample_scenes.classes import IGNORE
from mtl_d2.data.sample_scenes.files import write_array
from mtl_d2.data.sample_scenes.scene import Scene

KINDS = ("image", "label", "depth", "normal")


def write(folder: Path, split: str, index: int, total: int, scene: Scene) -> None:
    """Writes one scene."""
    label = scene.semantic.astype(np.float32)
    label[scene.semantic == IGNORE] = -1
    image = scene.image.astype(np.float32) / np.float32(255)
    arrays = (image, label, scene.depth[..., None], scene.normal)
    for kind, array in zip(KINDS, arrays, strict=True):
        write_array(folder / split / kind / f"{index}.npy", array)


def finish(folder: Path, split: str, parts: list[None]) -> None:
    """There are no index files."""
    for kind in KINDS:
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
