"""Predictions under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def not_half(prediction: Tensor) -> Tensor:
    """In float32 at least: losses are not for half precision, and detectron2's of boxes fail on it."""
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))
