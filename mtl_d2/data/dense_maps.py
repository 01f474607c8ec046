"""Maps of depth and of normals: where records, metadata and samples have them, and reading one with its geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from detectron2.data.transforms import TransformList

from mtl_d2.data.dense_files import CAMERA_AXES, DenseLabel, depth_encoding, read_depth, read_normals
from mtl_d2.data.dense_geometry import transform_depth, transform_normals
from mtl_d2.data.errors import DataError
from mtl_d2.data.geometry import Geometry
from mtl_d2.data.normals_from_depth import Intrinsics, normals_from_depth

Array = npt.NDArray[Any]
Record = Mapping[str, Any]
METRES = "metres"


class DenseMaps(Protocol):
    """Keys of a kind of maps, and what is done with one.

    Attributes:
        file: of a record: the file of the map.
        sample: of a sample, and of a model's output.
    """

    file: str
    sample: str

    def read(self, record: Record, metadata: Any) -> DenseLabel:
        """The map of a record, with what its data set's metadata say where the record does not."""

    def moved(self, values: Array, transforms: TransformList) -> Array:
        """The map as the augmented image shows it."""

    def prediction(self, means: Array) -> Array:
        """The map of (H, W, C) means of such maps."""

    def tensor(self, values: Array) -> torch.Tensor:
        """The map as samples and predictions have it."""


@dataclass(frozen=True)
class DepthMaps:
    """Depth, or disparity: (H, W), 0 = no label.

    Attributes:
        file: of a record: the file of the map.
        encoding: of a record, or of metadata: how numbers in the file become depth; absent = ``METRES``.
        array: of a record, or of metadata: the name of the array in a ``.mat``.
        unit: of metadata: what depth is in; absent = ``METRES``.
        range: of metadata: (nearest, farthest) that evaluation counts, in that unit.
        crop: of metadata: which pixels evaluation counts, see ``mtl_d2.evaluation.depth``; absent = all.
        average: of metadata: what evaluation takes means over; see ``mtl_d2.evaluation.dense``.
        sample: of a sample, and of a model's output.
        bilinear: how resizing takes values; see ``transform_depth``.
        scaling: what magnifying does to them; see ``DEPTH_SCALINGS``.
    """

    file: str = "depth_file_name"
    encoding: str = "depth_encoding"
    array: str = "depth_array"
    unit: str = "depth_unit"
    range: str = "depth_range"
    crop: str = "depth_crop"
    average: str = "depth_average"
    sample: str = "depth"
    bilinear: bool = False
    scaling: str = "none"

    def named(self, own_name: str) -> DepthMaps:
        """Those of the task ``depth/<own_name>``."""
        return _named(self, own_name)

    def read(self, record: Record, metadata: Any) -> DenseLabel:
        """See ``DenseMaps``.

        Raises:
            DataError: see ``read_depth``.
        """
        array, encoding = (
            _said(record, metadata, key, usual) for key, usual in ((self.array, ""), (self.encoding, METRES))
        )
        return read_depth(record[self.file], depth_encoding(encoding), array)

    def moved(self, values: Array, transforms: TransformList) -> Array:
        """See ``DenseMaps``."""
        return transform_depth(values, transforms, bilinear=self.bilinear, scaling=self.scaling)

    def prediction(self, means: Array) -> Array:
        """See ``DenseMaps``."""
        return means[..., 0]

    def tensor(self, values: Array) -> torch.Tensor:
        """(H, W) float32."""
        return torch.as_tensor(np.ascontiguousarray(values))


@dataclass(frozen=True)
class NormalsMaps:
    """Surface normals: (H, W, 3), x right, y down, z forward, all 0 = no label.

    Attributes:
        file: of a record: the file of the map.
        array: of a record, or of metadata: the name of the array in a ``.mat``.
        axes: of a record, or of metadata: which way the file's numbers count; see ``read_normals``.
        intrinsics: of a record, or of metadata: fx, fy, cx, cy of the camera. With them the file is one of depth, of
            which normals are computed; see ``normals_from_depth``.
        encoding: of a record, or of metadata: that of this depth; absent = ``METRES``.
        average: of metadata: what evaluation takes means over; see ``mtl_d2.evaluation.dense``.
        sample: of a sample, and of a model's output.
    """

    file: str = "normals_file_name"
    array: str = "normals_array"
    axes: str = "normals_axes"
    intrinsics: str = "normals_intrinsics"
    encoding: str = "normals_depth_encoding"
    average: str = "normals_average"
    sample: str = "normals"

    def named(self, own_name: str) -> NormalsMaps:
        """Those of the task ``normals/<own_name>``."""
        return _named(self, own_name)

    def read(self, record: Record, metadata: Any) -> DenseLabel:
        """See ``DenseMaps``.

        Raises:
            DataError: see ``read_normals``, or ``read_depth``.
        """
        camera = _said(record, metadata, self.intrinsics, None)
        if camera is not None:
            return self._of_depth(record, metadata, camera)
        array, axes = (
            _said(record, metadata, key, usual) for key, usual in ((self.array, ""), (self.axes, CAMERA_AXES))
        )
        return read_normals(record[self.file], array, axes)

    def _of_depth(self, record: Record, metadata: Any, camera: Any) -> DenseLabel:
        if not _is_camera(camera):
            raise DataError(
                f"{record[self.file]}: `{self.intrinsics}` must be fx, fy, cx, cy in pixels, the first two above 0, "
                f"found {camera!r}: correct its record or its metadata"
            )
        array, encoding = (
            _said(record, metadata, key, usual) for key, usual in ((self.array, ""), (self.encoding, METRES))
        )
        depth, odd = read_depth(record[self.file], depth_encoding(encoding), array)
        return DenseLabel(normals_from_depth(depth, Intrinsics(*camera)), odd)

    def moved(self, values: Array, transforms: TransformList) -> Array:
        """See ``DenseMaps``."""
        return transform_normals(values, transforms)

    def prediction(self, means: Array) -> Array:
        """See ``DenseMaps``: of length 1 again."""
        return means / np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), 1e-6)

    def tensor(self, values: Array) -> torch.Tensor:
        """(3, H, W) float32."""
        return torch.as_tensor(np.ascontiguousarray(values.transpose(2, 0, 1)))


@dataclass(frozen=True)
class DenseReader:
    """Reads the map that a record names into the sample.

    Attributes:
        maps: where it is, and what is done with it.
    """

    maps: DenseMaps

    def __call__(self, record: dict[str, Any], geometry: Geometry) -> dict[str, Any]:
        """See ``mtl_d2.tasks.base.Reader``; what the augmentation leaves no label of has none to learn from.

        Raises:
            DataError: the file cannot be read, or is of another size than the image.
        """
        values = self.maps.read(record, {}).values
        if values.shape[:2] != geometry.before:
            raise DataError(other_size(record[self.maps.file], values, geometry.before))
        moved = self.maps.moved(values, geometry.transforms)
        return {self.maps.sample: self.maps.tensor(moved)} if moved.any() else {}


def other_size(path: str, values: Array, size: tuple[int, int]) -> str:
    """What is said of a map of another size than its image."""
    return (
        f"{path}: size {values.shape[:2]} (height, width), but its image has {tuple(size)}: give the map of this image"
    )


def _is_camera(values: Any) -> bool:
    """Whether they are the numbers of ``Intrinsics``, focal lengths above 0."""
    if not isinstance(values, list | tuple) or len(values) != 4 or not all(isinstance(v, Real) for v in values):
        return False
    return all(np.isfinite(values)) and min(values[:2]) > 0


def _said(record: Record, metadata: Any, key: str, usual: Any) -> Any:
    return record.get(key, metadata.get(key, usual))


def _named(keys: Any, own_name: str) -> Any:
    """``keys`` that end with a task's own name; what is no text is no key."""
    texts = {f.name: getattr(keys, f.name) for f in fields(keys) if f.name != "scaling"}
    return replace(
        keys, **{name: f"{key}/{own_name}" for name, key in texts.items() if isinstance(key, str) and own_name}
    )
