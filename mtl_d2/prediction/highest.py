"""The class of the highest score at each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ROWS = 64  # that are looked at together, so that their scores stay in the processor's cache


def highest_class(scores: Tensor) -> npt.NDArray[np.uint8]:
    """Ids (H, W) of (C, H, W) scores, C <= 256; the first of several that are the highest.

    On a CPU torch's argmax takes ten times as long as this, and longer than a small network.
    """
    if scores.device.type != "cpu" or not scores.numel():
        return scores.argmax(dim=0).to(torch.uint8).cpu().numpy()
    values = np.ascontiguousarray(scores.detach().float().numpy())
    ids = np.zeros(values.shape[1:], np.uint8)
    for top in range(0, len(ids), ROWS):
        _highest(values[:, top : top + ROWS], ids[top : top + ROWS])
    return ids


def _highest(values: npt.NDArray[np.float32], ids: npt.NDArray[np.uint8]) -> None:
    best, higher = values[0].copy(), np.empty_like(ids)
    for k in range(1, len(values)):
        cv2.compare(values[k], best, cv2.CMP_GT, dst=higher)  # 255 or 0
        np.bitwise_and(higher, np.uint8(k), out=higher)  # OpenCV takes some small arrays for numbers
        cv2.max(ids, higher, dst=ids)
        cv2.max(best, values[k], dst=best)
