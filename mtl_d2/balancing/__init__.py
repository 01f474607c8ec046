"""The mathematics of one multi-task update. Knows torch and nothing of detectron2 or of configs.

One update is made of choices that are independent of each other: a *scalarization* turns the task losses into one
number, a *gradient* stage turns the task gradients into one direction, a *step* says where gradients are taken and in
which order parameters move.
"""

from mtl_d2.balancing.balancer import Balancer
from mtl_d2.balancing.base import Setup, UpdateResult, Weights
from mtl_d2.balancing.build import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.balancing.jacobian import Oracle

__all__ = [
    "AGGREGATORS",
    "REGULARIZERS",
    "ROW_SCALINGS",
    "STEPS",
    "WEIGHTINGS",
    "Balancer",
    "Oracle",
    "Setup",
    "UpdateResult",
    "Weights",
    "load_methods",
]
