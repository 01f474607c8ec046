"""Whether a run can go on from a checkpoint, and what is then not as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from detectron2.config import CfgNode

from mtl_d2.config import leaves
from mtl_d2.engine.checkpoint import CheckpointError

logger = logging.getLogger(__name__)

# What changes no parameter, or only when the run looks at itself.
_HARMLESS = (
    "OUTPUT_DIR", "VERSION", "MODEL.WEIGHTS", "DATALOADER.NUM_WORKERS", "DATASETS.TEST", "TEST.",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.REFERENCE_WORLD_SIZE", "MTL.LOG_PERIOD", "MTL.DATA.MODULES", "VIS_PERIOD",
)  # fmt: skip
# What a state in the checkpoint would not fit.
_FIXED = ("MTL.TASKS", "MTL.SCALARIZATION.NAME", "MTL.GRADIENT.RESCALE", "MTL.GRADIENT.AGGREGATOR", "MTL.STEP.NAME")


def compare_configs(stored: str, present: CfgNode) -> None:
    """Warns of the settings that a run goes on with and that are not those it began with.

    Args:
        stored: the config in the checkpoint, as YAML.
        present: the config of this run.

    Raises:
        CheckpointError: tasks or methods differ, so that the state of the old ones fits nowhere.
    """
    before = dict(leaves(yaml.safe_load(stored)))
    now = dict(leaves(yaml.safe_load(present.dump())))
    changed = {
        key: f"{key}: {before.get(key)!r} in the checkpoint, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(_HARMLESS)
    }
    refused = [line for key, line in changed.items() if key in _FIXED]
    if refused:
        raise CheckpointError(
            "--resume goes on with the same tasks and methods; to begin anew from the weights, give MODEL.WEIGHTS the "
            "checkpoint, another OUTPUT_DIR, and leave out --resume:\n" + "\n".join(f"  - {one}" for one in refused)
        )
    if changed:
        logger.warning(
            "The config is not that of the checkpoint. From here on the run is not the one that never stopped:\n%s",
            "\n".join(f"  - {line}" for line in changed.values()),
        )


def warn_of_ranks(before: int, now: int) -> None:
    """Says what another number of processes changes.

    Args:
        before: processes of the run that wrote the checkpoint.
        now: processes that go on.
    """
    if before != now:
        logger.warning(
            "The checkpoint was written by %d processes, %d go on. It is the same run but for two things: sums over "
            "processes are rounded in another order, and what draws from the global generators (dropout) draws anew. "
            "Parameters are then no longer equal bit for bit to those of a run that never stopped.",
            before,
            now,
        )


def require_keys(state: Mapping[str, Any], needed: Collection[str], what: str) -> None:
    """Refuses a state of another version.

    Raises:
        CheckpointError: ``state`` lacks some of the keys ``needed``.
    """
    missing = sorted(set(needed) - set(state))
    if missing:
        raise CheckpointError(
            f"the checkpoint's {what} has no {', '.join(missing)}: another version of mtl_d2, or another trainer, "
            "wrote it. Go on with that version, or begin anew from its weights: MODEL.WEIGHTS <checkpoint>, no --resume"
        )
