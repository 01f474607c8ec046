"""Which layers of a network its tasks disagree in: docs/analysis.md."""

from mtl_d2.analysis.advice import advice
from mtl_d2.analysis.bootstrap import Estimate
from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.analysis.result import Analysis, Part, analyze

__all__ = ["Analysis", "AnalysisError", "Estimate", "Part", "advice", "analyze"]
