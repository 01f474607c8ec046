"""Data sets, held-out images and the metric that chooses the model."""

from __future__ import annotations

from detectron2.config import CfgNode

from mtl_d2.config import needs_evaluation
from mtl_d2.config_checks.sentences import unknown


def check_data_keys(cfg: CfgNode) -> list[str]:
    """Batches, held-out images, and what chooses the model."""
    mistakes = []
    if not cfg.DATASETS.TRAIN:
        mistakes.append("DATASETS.TRAIN is empty; name the data sets to train on")
    shares, names = cfg.MTL.DATA.PER_DATASET, cfg.DATASETS.TRAIN
    if shares and len(shares) != len(names):
        mistakes.append(
            f"MTL.DATA.PER_DATASET needs one number for each of DATASETS.TRAIN {tuple(names)}, got {shares}"
        )
    elif shares and (sum(shares) != cfg.SOLVER.IMS_PER_BATCH or min(shares) < 1):
        mistakes.append(
            f"MTL.DATA.PER_DATASET {tuple(shares)} must be counts >= 1 that add up to SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}"
        )
    if cfg.MTL.DATA.CROWD_REGIONS not in ("ignore", "background"):
        mistakes.append(unknown("MTL.DATA.CROWD_REGIONS", cfg.MTL.DATA.CROWD_REGIONS, ("ignore", "background")))
    return [*mistakes, *_check_validation(cfg)]


def _check_validation(cfg: CfgNode) -> list[str]:
    share, period, mistakes = cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD, []
    metric = cfg.MTL.SELECT_BY
    if metric and not all(metric.partition("/")):
        mistakes.append(f"MTL.SELECT_BY must be 'group/metric' such as 'bbox/AP', or empty, got {metric!r}")
    if metric and not cfg.DATASETS.TEST:
        mistakes.append(
            f"MTL.SELECT_BY {metric!r} is a metric of an evaluation, but DATASETS.TEST is empty: name test sets"
        )
    if not 0 <= share < 1:
        mistakes.append(f"MTL.DATA.VALIDATION_SHARE must be in [0, 1), got {share}")
    elif share == 0 and needs_evaluation(cfg):
        mistakes.append(
            "MTL.DATA.VALIDATION_SHARE must be > 0, or the weights would be chosen on the test set: "
            f"MTL.SCALARIZATION.NAME {cfg.MTL.SCALARIZATION.NAME!r} takes accuracies; got {share}, try 0.1"
        )
    if period < 1 and needs_evaluation(cfg):
        mistakes.append(
            f"TEST.EVAL_PERIOD must be at least 1, got {period}: MTL.SCALARIZATION.NAME "
            f"{cfg.MTL.SCALARIZATION.NAME!r} takes accuracies every so many updates"
        )
    return mistakes
