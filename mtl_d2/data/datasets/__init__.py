"""Data sets that detectron2 does not know, read in their published layouts."""

import os

from mtl_d2.data.datasets import (
    bdd100k,
    cityscapes,
    cityscapes_dense,
    mnist,
    mtan,
    nyu_depth,
    nyud_mt,
    nyuv2,
    sample_scenes,
    sun_rgbd,
    sun_rgbd_mirror,
    voc,
)


def register_all(root: str | None = None) -> None:
    """Register this package's data sets; may be called again with another root.

    Args:
        root: the folder that holds one folder per data set; None = ``$DETECTRON2_DATASETS``, or ``datasets``.
    """
    root = root or os.environ.get("DETECTRON2_DATASETS", "datasets")
    bdd100k.register(root)
    cityscapes.register(root)
    cityscapes_dense.register(root)
    mnist.register(root)
    mtan.register(root)
    nyu_depth.register(root)
    nyud_mt.register(root)
    nyuv2.register(root)
    sample_scenes.register(root)
    sun_rgbd.register(root)
    sun_rgbd_mirror.register(root)
    voc.register(root)
