"""The trainer, its hooks and what runs across processes."""

import mtl_d2.detectron2_is_there  # noqa: F401
from mtl_d2.engine.trainer import MultiTaskTrainer

__all__ = ["MultiTaskTrainer"]
