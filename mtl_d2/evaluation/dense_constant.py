"""The mean of maps of numbers at each place: what can be said of an image without looking at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_d2.data.dense_maps import DenseMaps
from mtl_d2.evaluation.constant import GRID


class ConstantDense:
    """The mean label of each place, over the images that have one there; elsewhere the mean of all."""

    def __init__(self, records: Sequence[dict[str, Any]], maps: DenseMaps) -> None:
        """Reads all maps.

        Args:
            records: which have one, and say how it is to be read.
            maps: their keys.
        """
        sums, counts = torch.zeros(()), torch.zeros(())  # (C, h, w), (h, w)
        for record in records:
            small = cv2.resize(maps.read(record, {}).values, GRID[::-1], interpolation=cv2.INTER_NEAREST)
            values = maps.tensor(small).double().reshape(-1, *GRID)
            sums, counts = sums + values, counts + (values != 0).any(0)
        overall = sums.flatten(1).sum(1) / counts.sum().clamp(min=1)
        self._maps = maps
        self.mean = torch.where(counts > 0, sums / counts.clamp(min=1), overall[:, None, None]).float()

    def __call__(self, height: int, width: int) -> Tensor:
        """A prediction for an image of this size."""
        resized = F.interpolate(self.mean[None], (height, width), mode="bilinear")[0]
        return self._maps.tensor(self._maps.prediction(np.ascontiguousarray(resized.permute(1, 2, 0).numpy())))
