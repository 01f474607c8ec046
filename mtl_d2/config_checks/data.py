"""Data sets and held-out images."""

from __future__ import annotations

from detectron2.config import CfgNode

from mtl_d2.config import methods_that_evaluate, needs_evaluation
from mtl_d2.config_checks.selection import check_selection
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.data.class_mapping import MOST_STUFF, NODES, config_key
from mtl_d2.data.union import check_sampling
from mtl_d2.tasks.registry import is_known, kinds_of


def check_data_keys(cfg: CfgNode) -> list[str]:
    """Batches, classes, held-out images, and what chooses the model."""
    mistakes = []
    if not cfg.DATASETS.TRAIN:
        mistakes.append("DATASETS.TRAIN is empty; name the data sets to train on")
    shares, names = cfg.MTL.DATA.PER_DATASET, cfg.DATASETS.TRAIN
    if shares and len(shares) != len(names):
        mistakes.append(
            f"MTL.DATA.PER_DATASET needs one number for each of DATASETS.TRAIN {tuple(names)}, got {shares}"
        )
    elif shares and any(type(share) is not int for share in shares):
        mistakes.append(f"MTL.DATA.PER_DATASET must be whole numbers, got {tuple(shares)}")
    elif shares and (sum(shares) != cfg.SOLVER.IMS_PER_BATCH or min(shares) < 1):
        mistakes.append(
            f"MTL.DATA.PER_DATASET {tuple(shares)} must be counts >= 1 that add up to SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}"
        )
    if cfg.MTL.DATA.CROWD_REGIONS not in ("ignore", "background"):
        mistakes.append(unknown("MTL.DATA.CROWD_REGIONS", cfg.MTL.DATA.CROWD_REGIONS, ("ignore", "background")))
    return [*mistakes, *_check_classes(cfg), *check_sampling(cfg), *_check_validation(cfg), *check_selection(cfg)]


def _check_classes(cfg: CfgNode) -> list[str]:
    """The run's own lists of classes."""
    mistakes = []
    for node, names in cfg.MTL.DATA.CLASSES.items():
        key = f"MTL.DATA.CLASSES.{node}"
        if node not in NODES.values() and not (node.startswith("STUFF/") and node[6:].isidentifier()):
            mistakes.append(
                f"{key} is no list of a run's: they are THING, STUFF, and STUFF/NAME of a task semantic/NAME"
            )
        elif isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
            mistakes.append(f"{key} must be a list of names, got {names!r}")
        elif len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            mistakes.append(f"{key} has {twice!r} twice: each name is one class")
        elif node != NODES["thing_classes"] and len(names) > MOST_STUFF:
            mistakes.append(
                f"{key} has {len(names)} names, and label maps that are mapped have room for {MOST_STUFF}: leave it "
                "out, and map them in their readers"
            )
    if mistakes:
        return mistakes
    for kind in kinds_of(filter(is_known, cfg.MTL.TASKS)):
        node = config_key(kind.classes_key)
        names = cfg.MTL.DATA.CLASSES.get(node, ())
        counted = kind.number_of_classes(cfg) if names else None
        if counted and counted[1] != len(names):
            mistakes.append(
                f"{counted[0]} is {counted[1]}, but MTL.DATA.CLASSES.{node} has {len(names)} names: "
                f"set it to {len(names)}"
            )
    return list(dict.fromkeys(mistakes))


def _check_validation(cfg: CfgNode) -> list[str]:
    share, period, mistakes = cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD, []
    if not 0 <= share < 1:
        mistakes.append(f"MTL.DATA.VALIDATION_SHARE must be in [0, 1), got {share}")
    elif share == 0 and needs_evaluation(cfg):
        mistakes.append(
            "MTL.DATA.VALIDATION_SHARE must be > 0, or the weights would be chosen on the test set: accuracies are "
            f"taken by {_who_evaluates(cfg)}; got {share}, try 0.1"
        )
    if period < 1 and needs_evaluation(cfg):
        mistakes.append(
            f"TEST.EVAL_PERIOD must be at least 1, got {period}: accuracies are taken every so many updates, by "
            f"{_who_evaluates(cfg)}"
        )
    return mistakes


def _who_evaluates(cfg: CfgNode) -> str:
    return " and ".join(f"{key} {name!r}" for key, _, name in methods_that_evaluate(cfg))
