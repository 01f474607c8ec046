"""A look at the data of a config: samples with their labels, statistics, and what is suspicious about them."""

from mtl_d2.inspection.findings import Findings, Limits
from mtl_d2.inspection.look import look_at_data

__all__ = ["Findings", "Limits", "look_at_data"]
