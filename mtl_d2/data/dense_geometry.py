"""Maps of depth, of surface normals and of class ids through the augmentation of their image.

A camera looks along z; x is right and y down in its image. An affine map of the image that magnifies, shifts or
stretches is another lens: it changes no normal. One that turns or mirrors the image turns or mirrors the normals with
it. What a pixel's depth becomes where the image is magnified is a matter of convention; see ``DEPTH_SCALINGS``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T
from fvcore.transforms.transform import BlendTransform, ScaleTransform
from PIL import Image

from mtl_d2.data.dense_resampling import Affine, Size, resample
from mtl_d2.data.errors import DataError
from mtl_d2.data.magnify import MagnifyTransform

Array = npt.NDArray[Any]

# What depth is multiplied by where the image is magnified s times, beside the size it is stored in. "divide" is MTAN's:
# the camera is s times nearer; "multiply" is for disparity, its inverse. In the mean of both directions, and for
# all resizing: also for that of tests, whose predictions are to be scaled back.
DEPTH_SCALINGS: dict[str, Callable[[float], float]] = {
    "none": lambda s: 1.0,
    "divide": lambda s: 1 / s,
    "multiply": lambda s: s,
}


def transform_depth(
    depth: Array, transforms: T.TransformList, *, bilinear: bool = False, scaling: str = "none"
) -> Array:
    """A depth map as the augmented image shows it.

    Args:
        depth: (H, W) float32, 0 = no label.
        transforms: what was done to the image.
        bilinear: resampled pixels are means of the labelled ones among the four around them, else the nearest one.
            Either way a pixel is labelled where the nearest one is.
        scaling: a key of ``DEPTH_SCALINGS``.

    Returns:
        (H', W') float32, 0 = no label.

    Raises:
        DataError: what a transform does to points is not known.
    """
    values, affines = _transformed(depth[..., None], transforms, bilinear)
    factor = DEPTH_SCALINGS[scaling](float(np.prod([affine.magnification for affine in affines])))
    return values[..., 0] if factor == 1 else values[..., 0] * np.float32(factor)


def transform_normals(normals: Array, transforms: T.TransformList) -> Array:
    """A map of normals as the augmented image shows it: bilinear among labelled pixels, turned, of length 1.

    Args:
        normals: (H, W, 3) float32 unit vectors, x right, y down, z forward; all 0 = no label.
        transforms: what was done to the image.

    Returns:
        (H', W', 3) float32.

    Raises:
        DataError: what a transform does to points is not known.
    """
    values, affines = _transformed(normals, transforms, bilinear=True)
    turn = np.eye(3, dtype=np.float32)  # nothing is done to z
    for affine in affines:
        turn[:2, :2] = affine.turn @ turn[:2, :2]
    if not np.array_equal(turn, np.eye(3)):
        values = np.asarray(cv2.transform(values, turn))
    squares = np.asarray(cv2.transform(values * values, np.ones((1, 3), np.float32))).reshape(*values.shape[:2], 1)
    return values * np.where(squares > 1e-6, 1 / np.sqrt(np.maximum(squares, np.float32(1e-6))), np.float32(0))


def transform_ids(ids: Array, transforms: T.TransformList, ignored: int) -> Array:
    """A map of class ids as the augmented image shows it: none is blended, and what shows no image is ignored.

    Where detectron2's ``apply_segmentation`` does so it is asked. It blends ids under ``ExtentTransform`` (0 is the
    number of the nearest pixel there, and taken for none), and makes class 0 of a rotation's corners and of padding.

    Args:
        ids: (H, W) uint8.
        transforms: what was done to the image.
        ignored: the id of pixels without a label.

    Returns:
        (H', W') uint8.
    """
    for transform in transforms.transforms:
        if type(transform).apply_segmentation in _WRONG_FOR_IDS or hasattr(transform, "affine"):
            affine = affine_of(transform, (ids.shape[0], ids.shape[1]))
            if affine is not None:
                above_0 = resample(ids[..., None] + np.float32(1), affine, bilinear=False)[..., 0]
                ids = np.where(above_0 > 0, above_0 - 1, ignored).astype(np.uint8)
        elif type(transform) in _AFFINES:
            ids = _IDS.get(type(transform), _as_detectron2)(transform, ids)
        else:  # one's own
            shown = transform.apply_segmentation(np.ones_like(ids)) == 1
            ids = np.where(shown, transform.apply_segmentation(ids), np.uint8(ignored))
    return ids


def _as_detectron2(transform: Any, ids: Array) -> Array:
    return transform.apply_segmentation(ids)


def _resized_ids(transform: T.ResizeTransform, ids: Array) -> Array:
    """detectron2's, by OpenCV where it takes the pixels that Pillow takes."""
    before, after = (transform.h, transform.w), (transform.new_h, transform.new_w)
    if ids.shape != before or not all(map(same_nearest, before, after)):
        return transform.apply_segmentation(ids)
    return np.asarray(cv2.resize(ids, after[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


@functools.lru_cache(maxsize=1 << 14)
def same_nearest(before: int, after: int) -> bool:
    """Whether OpenCV and Pillow take the same ones of ``before`` pixels in a row for ``after``."""
    if not (before and after):
        return False
    places = np.arange(before, dtype=np.int32)[None]
    taken = cv2.resize(places, (after, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.array_equal(taken, np.asarray(Image.fromarray(places).resize((after, 1), Image.Resampling.NEAREST)))


def _transformed(values: Array, transforms: T.TransformList, bilinear: bool) -> tuple[Array, list[Affine]]:
    """Values (H, W, C) at their new places, and what moved them there."""
    affines = []
    for transform in transforms.transforms:
        affine = affine_of(transform, (values.shape[0], values.shape[1]))
        if affine is not None:
            values = resample(values, affine, bilinear)
            affines.append(affine)
    return np.ascontiguousarray(values, np.float32), affines


def affine_of(transform: Any, size: Size) -> Affine | None:
    """What a transform does to the points of an image; None = nothing.

    A transform of one's own says it by two attributes: ``affine``, (2, 3) as in ``Affine``, and ``output_size``.

    Args:
        transform: one of detectron2's or fvcore's.
        size: of the image that it is applied to.

    Raises:
        DataError: it is not known.
    """
    for kind in type(transform).__mro__:
        if kind in _AFFINES:
            return _AFFINES[kind](transform, size)
    if hasattr(transform, "affine") and hasattr(transform, "output_size"):
        return Affine(np.asarray(transform.affine, float), tuple(transform.output_size))
    raise DataError(
        f"what {type(transform).__name__} does to depth and normals is not known: give it the attributes `affine`, the "
        "(2, 3) matrix from points of the image to points of its result, and `output_size` (height, width), or take "
        "it out of the augmentation"
    )


def _nothing(transform: Any, size: Size) -> None:
    return None


def _scaled(x: float, y: float, size: Size, shift: tuple[float, float] = (0.0, 0.0)) -> Affine:
    return Affine(np.array([[x, 0, shift[0]], [0, y, shift[1]]], float), size)


def _resized(transform: T.ResizeTransform | ScaleTransform, size: Size) -> Affine:
    new_size = (transform.new_h, transform.new_w)
    return _scaled(new_size[1] / transform.w, new_size[0] / transform.h, new_size)


def _cropped(transform: T.CropTransform, size: Size) -> Affine:
    x0, y0 = transform.x0, transform.y0
    inside = (min(transform.h, size[0] - y0), min(transform.w, size[1] - x0))  # a slice of the image
    return _scaled(1, 1, inside, (-x0, -y0))


def _padded(transform: T.PadTransform, size: Size) -> Affine:
    outside = (size[0] + transform.y0 + transform.y1, size[1] + transform.x0 + transform.x1)
    return _scaled(1, 1, outside, (transform.x0, transform.y0))


def _extended(transform: T.ExtentTransform, size: Size) -> Affine:
    (height, width), (x0, y0, x1, y1) = transform.output_size, transform.src_rect
    x, y = width / (x1 - x0), height / (y1 - y0)
    return _scaled(x, y, (height, width), (-x0 * x, -y0 * y))


def _rotated(transform: T.RotationTransform, size: Size) -> Affine | None:
    if transform.angle % 360 == 0:  # then it does not crop to its bounds either
        return None
    return Affine(np.asarray(transform.rm_coords, float), (int(transform.bound_h), int(transform.bound_w)))


_AFFINES: dict[type, Callable[[Any, Size], Affine | None]] = {
    T.NoOpTransform: _nothing,
    T.ColorTransform: _nothing,
    BlendTransform: _nothing,
    T.HFlipTransform: lambda transform, size: _scaled(-1, 1, size, (size[1], 0)),
    T.VFlipTransform: lambda transform, size: _scaled(1, -1, size, (0, size[0])),
    T.CropTransform: _cropped,
    T.PadTransform: _padded,
    T.ResizeTransform: _resized,
    MagnifyTransform: _resized,
    ScaleTransform: _resized,
    T.ExtentTransform: _extended,
    T.RotationTransform: _rotated,
}

# What is done to ids faster than by detectron2, which takes the same ones.
_IDS: dict[type, Callable[[Any, Array], Array]] = {
    T.ResizeTransform: _resized_ids,
    T.HFlipTransform: lambda transform, ids: np.asarray(cv2.flip(ids, 1)).reshape(ids.shape),
}

_WRONG_FOR_IDS = frozenset(kind.apply_segmentation for kind in (T.ExtentTransform, T.RotationTransform, T.PadTransform))
