"""Trainings by a config, and what they logged."""

import json
from pathlib import Path

import torch

from mtl_d2.engine import MultiTaskTrainer


def train(cfg, resume=False, until=None, hooks=()):
    """A trainer after its training, which ends after ``until`` updates if that is given."""
    torch.manual_seed(3)
    trainer = MultiTaskTrainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume)
    trainer.max_iter = until or trainer.max_iter
    trainer.train()
    return trainer


def rows(cfg):
    """Of ``metrics.json``."""
    return [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
