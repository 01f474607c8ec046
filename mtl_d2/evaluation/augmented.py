"""Test-time augmentation of detectron2's: boxes and masks of several sizes and flips of each image, ``TEST.AUG``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.modeling import GeneralizedRCNNWithTTA
from torch import nn

from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.variants import AUGMENTED as SUFFIX
from mtl_d2.evaluation.variants import add_variant
from mtl_d2.tasks.registry import kinds_of

AUGMENTED = "instances"  # of a model's output: what detectron2 augments; pixels are predicted as ever


def add_augmented(cfg: Any, model: nn.Module, results: Any, test: Callable[[Any, nn.Module, list], Any]) -> None:
    """Evaluates boxes and masks with augmentation, and adds them to ``results`` as ``bbox_TTA`` and ``segm_TTA``.

    Args:
        cfg: of the run, ``TEST.AUG`` included.
        model: a ``GeneralizedRCNN``.
        results: of the same model without augmentation, by group of metrics.
        test: the trainer's; takes config, model and evaluators.
    """
    boxes = cfg.clone()
    boxes.defrost()
    boxes.MTL.TASKS = tuple(kind.task for kind in kinds_of(cfg.MTL.TASKS) if kind.sample_key == AUGMENTED)
    kinds = kinds_of(boxes.MTL.TASKS)
    boxes.DATASETS.TEST = tuple(
        name for name in cfg.DATASETS.TEST if any(kind.is_in_some(read_records(name)) for kind in kinds)
    )
    if not boxes.DATASETS.TEST:
        return
    folder = Path(cfg.OUTPUT_DIR, "inference" + SUFFIX)
    evaluators = [build_evaluator(boxes, name, str(folder / name)) for name in boxes.DATASETS.TEST]
    augmented = test(boxes, GeneralizedRCNNWithTTA(boxes, model), evaluators)
    add_variant(results, augmented, SUFFIX)


class AugmentedEvaluation(HookBase):
    """Adds them to the results at the end of a training. It comes right after detectron2's EvalHook."""

    def __init__(self, cfg: Any, test: Callable[[Any, nn.Module, list], Any]) -> None:
        """Args: see ``add_augmented``."""
        self.cfg = cfg
        self.test = test

    def after_train(self) -> None:
        """Of a training that came to its end."""
        if self.trainer.iter + 1 >= self.trainer.max_iter and self.cfg.DATASETS.TEST:
            add_augmented(self.cfg, self.trainer.model, self.trainer._last_eval_results, self.test)
