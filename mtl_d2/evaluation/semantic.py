"""IoU of classes of pixels."""

from __future__ import annotations

from pathlib import Path

from detectron2.evaluation import DatasetEvaluator, SemSegEvaluator


def semantic_evaluator(name: str, folder: Path) -> DatasetEvaluator:
    """Args: ``name`` of the test set; ``folder`` for predictions and what else is written."""
    return SemSegEvaluator(name, output_dir=str(folder))
