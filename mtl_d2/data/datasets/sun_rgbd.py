"""SUN RGB-D as it is published: 37 classes of pixels, the 13 that they are gathered in, and depth, of the same images.

Song et al., "SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite", CVPR 2015. The layout::

    sun_rgbd/SUNRGBD/{kv1,kv2,realsense,xtion}/.../SCENE/{image/*.jpg,depth/*.png,depth_bfx/*.png}
    sun_rgbd/SUNRGBDtoolbox/Metadata/{SUNRGBDMeta.mat,SUNRGBD2Dseg.mat}
    sun_rgbd/SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat

Label maps are read one at a time: all of them together take 64 GB.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager
from scipy.io import loadmat

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets import sun_rgbd_classes
from mtl_d2.data.errors import DataError
from mtl_d2.data.matlab import DAMAGED
from mtl_d2.data.missing_labels import require_files
from mtl_d2.data.roots import require_folder

SPLITS = ("train", "test")
# Folders with depth, by what the names of data sets say: holes filled up, or as the camera saw it.
DEPTH = {"": "depth_bfx", "raw_depth_": "depth"}
TOP = "SUNRGBD"
LABELS = "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat"
META = "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat"
SPLIT = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"


@dataclass(frozen=True)
class Scene:
    """One image.

    Attributes:
        folder: below ``SUNRGBD``.
        image: name of its file.
        depth: name of its file.
        index: of its label map.
        split: one of ``SPLITS``.
    """

    folder: str
    image: str
    depth: str
    index: int
    split: str


def register(root: str) -> None:
    """Put ``sun_rgbd_{train,test}`` and ``sun_rgbd_raw_depth_{train,test}`` into detectron2's catalogs.

    They are read when they are asked for, and once.

    Args:
        root: the folder that holds ``sun_rgbd/``. Names registered before are registered anew.
    """
    listed = functools.cache(functools.partial(scenes, root))
    for prefix, folder in DEPTH.items():
        for split in SPLITS:
            register_anew(
                f"sun_rgbd_{prefix}{split}",
                functools.cache(functools.partial(load, root, split, folder, listed)),
                **sun_rgbd_classes.metadata(),
                evaluator_type="sem_seg",
                depth_encoding="sun_rgbd",
            )


def load(
    root: str, split: str, depth: str = "depth_bfx", listed: Callable[[], Sequence[Scene]] | None = None
) -> list[dict[str, Any]]:
    """Records of the images of a split, labelled for ``semantic`` (13 classes), ``semantic/classes_37`` and ``depth``.

    Args:
        root: the folder that holds ``sun_rgbd/``.
        split: one of ``SPLITS``.
        depth: the folder of a scene with its depth.
        listed: gives the images of both splits; None = ``scenes``.

    Returns:
        detectron2's dataset dicts in the order of the metadata, whose size the images say.

    Raises:
        DataError: a folder or file is missing, or a MATLAB file is not as published.
    """
    base = _base(root)
    chosen = [scene for scene in (listed() if listed else scenes(root)) if scene.split == split]
    if not chosen:
        raise DataError(f"{base / SPLIT} and {base / META} have no image of the split {split!r}: fetch them again")
    records = [
        {
            "file_name": str(base / TOP / scene.folder / "image" / scene.image),
            "image_id": scene.folder,
            **sun_rgbd_classes.label_keys(
                f"{base / LABELS}::SUNRGBD2Dseg.seglabel[{scene.index}]", len(sun_rgbd_classes.CLASSES_37) + 1
            ),
            "depth_file_name": str(base / TOP / scene.folder / depth / scene.depth),
        }
        for scene in chosen
    ]
    require_files([base / LABELS], "unpack SUNRGBDtoolbox there")
    require_files([r["depth_file_name"] for r in records], f"unpack SUNRGBD in {base}")
    return records


def scenes(root: str) -> list[Scene]:
    """The images of both splits, in the order of the metadata, which is that of the label maps.

    Args:
        root: the folder that holds ``sun_rgbd/``.

    Raises:
        DataError: a MATLAB file is missing or is not as published.
    """
    base = _base(root)
    train = {_below_top(path) for path in _texts(_variable(base / SPLIT, "alltrain"))}
    meta = _variable(base / META, "SUNRGBDMeta").reshape(-1)
    keys = ("rgbpath", "rgbname", "depthname")
    lacking = [key for key in keys if key not in (meta.dtype.names or ())]
    if lacking:
        raise DataError(
            f"{base / META}: SUNRGBDMeta has no field {lacking[0]}, it has {list(meta.dtype.names or ())}: take the "
            "file of the first version of the toolbox"
        )
    paths, images, depths = (_texts(meta[key]) for key in keys)
    folders = [str(PurePosixPath(_below_top(path)).parents[1]) for path in paths]  # less image/NAME.jpg
    return [
        Scene(folder, image, depth, index, "train" if folder in train else "test")
        for index, (folder, image, depth) in enumerate(zip(folders, images, depths, strict=True))
    ]


def _base(root: str) -> Path:
    return require_folder(Path(root, "sun_rgbd"), "sun_rgbd/SUNRGBD and sun_rgbd/SUNRGBDtoolbox")


def _variable(path: Path, name: str) -> Any:
    try:
        with PathManager.open(str(path), "rb") as file:
            return loadmat(file, variable_names=[name])[name]
    except FileNotFoundError:
        raise DataError(f"{path} not found: unpack SUNRGBDtoolbox there") from None
    except DAMAGED as error:
        what = f"no {name} in it" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise DataError(f"cannot read {path} ({what}): fetch SUNRGBDtoolbox again") from error


def _texts(cells: Any) -> list[str]:
    """Of cells of MATLAB's, each of which holds a text."""
    return [str(np.asarray(cell).reshape(-1)[0]) for cell in cells.reshape(-1)]


def _below_top(path: str) -> str:
    """Of a path on the machine of the data set's authors, what follows ``SUNRGBD``."""
    return str(PurePosixPath(path.partition(f"/{TOP}/")[2] or path))
