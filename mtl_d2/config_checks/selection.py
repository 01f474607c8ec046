"""What chooses the best model, and on which images."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.evaluation.criteria import DELTA, HELD_OUT, TEST, RelativeGain, read_criteria, selects_on_held_out


def check_selection(cfg: CfgNode) -> Iterator[str]:
    """A line for each mistake in ``MTL.SELECT_BY``, ``SELECT_ON`` and ``SELECT_REFERENCE``."""
    if cfg.MTL.SELECT_ON not in (HELD_OUT, TEST):
        yield unknown("MTL.SELECT_ON", cfg.MTL.SELECT_ON, (HELD_OUT, TEST))
        return
    try:
        criteria = read_criteria(cfg)
    except ValueError as error:
        yield from str(error).splitlines()
    else:
        if cfg.MTL.SELECT_REFERENCE and not any(isinstance(criterion, RelativeGain) for criterion in criteria):
            yield (
                f"MTL.SELECT_REFERENCE is {cfg.MTL.SELECT_REFERENCE!r}, which no criterion of MTL.SELECT_BY "
                f"{cfg.MTL.SELECT_BY!r} looks at: choose by {DELTA!r}, or set it to ''"
            )
    if selects_on_held_out(cfg):
        yield from _check_held_out(cfg)
    elif cfg.MTL.SELECT_BY and not cfg.DATASETS.TEST:
        yield (
            f"MTL.SELECT_BY {cfg.MTL.SELECT_BY!r} is a metric of an evaluation, but DATASETS.TEST is empty: name test "
            "sets"
        )


def _check_held_out(cfg: CfgNode) -> Iterator[str]:
    chosen = f"MTL.SELECT_BY {cfg.MTL.SELECT_BY!r} chooses on images held out of training"
    if cfg.MTL.DATA.VALIDATION_SHARE == 0:
        yield (
            f"{chosen}, but MTL.DATA.VALIDATION_SHARE is 0: set it, to 0.05; or, where one of DATASETS.TEST is there "
            f"for this purpose, set MTL.SELECT_ON to {TEST!r}"
        )
    if cfg.TEST.EVAL_PERIOD < 1:
        yield f"{chosen} every TEST.EVAL_PERIOD updates, which must be at least 1, got {cfg.TEST.EVAL_PERIOD}"
