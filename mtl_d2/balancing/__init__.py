"""The mathematics of one multi-task update. Knows torch and nothing of detectron2 or of configs.

One update is made of choices that are independent of each other: a *scalarization* turns the task losses into one
number, a *gradient* stage turns the task gradients into one direction, a *step* says where gradients are taken and in
which order parameters move. ``update.py`` has the update, ``interfaces.py`` what a method of each kind is.
"""

from mtl_d2.balancing.exact.oracle import Oracle
from mtl_d2.balancing.interfaces import Setup, UpdateResult, Weights
from mtl_d2.balancing.registry import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.balancing.scalarization import Scalarization
from mtl_d2.balancing.update import Balancer, GradientStage

__all__ = [
    "AGGREGATORS",
    "REGULARIZERS",
    "ROW_SCALINGS",
    "STEPS",
    "WEIGHTINGS",
    "Balancer",
    "GradientStage",
    "Oracle",
    "Scalarization",
    "Setup",
    "UpdateResult",
    "Weights",
    "load_methods",
]
