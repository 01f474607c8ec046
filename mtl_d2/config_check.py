"""Whether a config makes sense, before data and model are built."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from detectron2.config import CfgNode

from mtl_d2.balancing import load_methods
from mtl_d2.config import ConfigError
from mtl_d2.config_checks.augmentations import check_augmentations
from mtl_d2.config_checks.data import check_data_keys
from mtl_d2.config_checks.declared import check_declared
from mtl_d2.config_checks.followed import check_followed
from mtl_d2.config_checks.methods import check_methods, check_tasks
from mtl_d2.config_checks.model import check_model
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.config_checks.solver import check_solver

__all__ = ["CHECKS", "Check", "check_mtl_config", "unknown"]

Check = Callable[[CfgNode], Iterable[str]]  # gives one line for every mistake that it finds

CHECKS: tuple[Check, ...] = (
    check_tasks,
    check_declared,
    check_methods,
    check_solver,
    check_data_keys,
    check_model,
    check_followed,
    check_augmentations,
)


def check_mtl_config(cfg: CfgNode, *further: Check) -> None:
    """Checks everything that can be known before data and model are built.

    Args:
        cfg: for the number of processes that there are.
        further: more checks, of what is outside of the config.

    Raises:
        ConfigError: one line for each mistake, all of them at once.
    """
    load_methods()
    mistakes = dict.fromkeys(line for check in (*CHECKS, *further) for line in check(cfg))  # tasks may share an option
    if mistakes:
        raise ConfigError("the config has mistakes:\n" + "\n".join(f"  - {line}" for line in mistakes))
