"""The trainer, its hooks and what runs across processes."""

from mtl_d2.engine.trainer import MultiTaskTrainer

__all__ = ["MultiTaskTrainer"]
