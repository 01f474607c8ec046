"""The head of a task whose predictions are scores of classes for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from mtl_d2.modeling.heads.class_ids import Enlarge, class_ids, ids_of_map
from mtl_d2.modeling.heads.map_head import Features, MapHead
from mtl_d2.tasks.base import Size


class ClassMapHead(MapHead):
    """A ``MapHead`` that can say the class alone.

    With ``enlarged(output)``, which makes of (N, K, h, w) of any K channels of ``layers(features)`` what the layers
    give in evaluation, it needs no scores of all classes at the size of the image for it. Layers that derive from such
    ones and have a ``forward`` of their own give what that gives, unless they have an ``enlarged`` of their own too.
    """

    def predict_ids(self, features: Features, images: Any, sizes: Sequence[Size], classes_at: str) -> list[Tensor]:
        """Class ids (H, W) of the sizes asked for.

        Args:
            features: of N images.
            images: see ``TaskHead.predict``.
            sizes: see ``TaskHead.predict``.
            classes_at: see ``Wanted``.
        """
        if classes_at == "image" and not _enlarges(self.layers):
            return [scores.max(dim=0).indices for scores in self.predict(features, images, sizes)]
        shown = zip(self.layers.layers(features), images.image_sizes, sizes, strict=True)  # type: ignore[operator]
        if classes_at == "map":
            stride = int(self.layers.common_stride)  # type: ignore[arg-type]
            return [ids_of_map(output, stride, tuple(of_image), size) for output, of_image, size in shown]
        enlarge = cast(Enlarge, self.layers.enlarged)
        return [class_ids(output, enlarge, tuple(of_image), size) for output, of_image, size in shown]


def _enlarges(layers: object) -> bool:
    """Whether there is an ``enlarged``, and no class that derives from the one with it has another ``forward``."""
    for kind in type(layers).__mro__:
        if "enlarged" in vars(kind):
            return True
        if "forward" in vars(kind):
            return False
    return False
