"""Multi-task learning for detectron2: models, data and task balancing."""

__version__ = "0.1.0"
