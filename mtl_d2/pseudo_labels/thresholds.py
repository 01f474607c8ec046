"""How sure a teacher has to be for its prediction to become a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Thresholds:
    """Each in [0, 1].

    Paper: the defaults are those of MCLGS's BDD100K experiment (Igarashi et al., Multi-task curriculum learning based
    on gradient similarity, section 4).
    Differs from: the paper does not say what becomes of pixels below the confidence; here they have no label.

    Attributes:
        score: of an object, at least.
        nms: IoU above which the lower of two objects of a class is dropped.
        confidence: softmax probability of a pixel's class, at least.
    """

    score: float = 0.3
    nms: float = 0.2
    confidence: float = 0.8

    def mistakes(self) -> Iterator[str]:
        """A line for each that is out of its range."""
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:  # nor is NaN
                yield f"--{name} must be a number from 0 to 1, got {value}"
