"""The ordinary update: all gradients at the same point, all parameters moved together."""

from __future__ import annotations

from mtl_d2.balancing.interfaces import Step
from mtl_d2.balancing.registry import STEPS


@STEPS.named("joint")
class Joint(Step):
    """The shared parameters theta and all heads move at once, along gradients taken at the same point.

    Differs from: nothing; this is the update of an ordinary trainer.
    """
