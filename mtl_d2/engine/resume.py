"""Whether a run can go on from a checkpoint, and what is then not as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from mtl_d2.config import add_mtl_config, leaves
from mtl_d2.earlier_keys import by_present_keys
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.checkpoint import CheckpointError

logger = logging.getLogger(__name__)

# What changes no parameter, or only when the run looks at itself.
_HARMLESS = (
    "OUTPUT_DIR", "VERSION", "DATALOADER.NUM_WORKERS", "DATASETS.TEST", "TEST.",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.REFERENCE_WORLD_SIZE", "MTL.LOG_PERIOD", "MTL.DATA.MODULES", "VIS_PERIOD",
)  # fmt: skip
# What a state in the checkpoint would not fit, or would go on meaning something else than the config says.
_FIXED = (
    "MTL.TASKS", "MTL.SCALARIZATION.NAME", "MTL.GRADIENT.RESCALE", "MTL.GRADIENT.AGGREGATOR", "MTL.STEP.NAME",
    "MTL.OPTIMIZER", "MTL.SELECT_BY", "MTL.SELECT_ON", "MTL.SELECT_REFERENCE",
    # The order of the data, which records there are, and which are held out.
    "SEED", "DATASETS.TRAIN", "MTL.DATA.VALIDATION_SHARE", "MTL.DATA.SAME_IMAGES",
)  # fmt: skip
# What says how parameters begin, and nothing later: their last values are in the checkpoint.
_BEGINNING = ("MODEL.WEIGHTS", "PRIOR_PROB", "FCOS.BOX_BIAS")
# What was done before there was a key for it, where that is not the key's default.
_WITHOUT_THE_KEY = {"MTL.DATA.CROWD_REGIONS": "background", "MTL.SELECT_ON": "test"}
# What means something only where another key is not empty.
_IDLE_WITHOUT = {"MTL.SELECT_ON": "MTL.SELECT_BY", "MTL.SELECT_REFERENCE": "MTL.SELECT_BY"}
# Below these keys are the options of methods, each under the name of its method.
_METHODS = ("MTL.SCALARIZATION", "MTL.GRADIENT", "MTL.REGULARIZER", "MTL.STEP")


def compare_configs(stored: str, present: CfgNode, updates: int) -> None:
    """Warns of the settings that a run goes on with and that are not those it began with.

    Args:
        stored: the config in the checkpoint, as YAML.
        present: the config of this run.
        updates: made by the run of the checkpoint.

    Raises:
        CheckpointError: a setting differs that could not take effect from the next update on.
    """
    changed = changes(stored, present)
    if changed and updates >= present.SOLVER.MAX_ITER:
        raise CheckpointError(
            f"the run in {present.OUTPUT_DIR} has made {updates} updates of SOLVER.MAX_ITER {present.SOLVER.MAX_ITER}: "
            "no changed setting can take effect. To train anew, take another OUTPUT_DIR or leave out --resume; to "
            "evaluate it, restore the settings; to go on, raise SOLVER.MAX_ITER:\n" + _listed(changed.values())
        )
    before = with_values(present, stored, changed)
    fixed = {key for key in changed if key in _FIXED or key.endswith(_BEGINNING)}
    fixed |= set(_kept(before, present, changed.keys() - fixed))
    if fixed:
        raise CheckpointError(
            "--resume goes on with the same tasks, methods and data, and with what the checkpoint holds of them; these "
            "settings could not take effect. Restore them, or begin anew from the weights: give MODEL.WEIGHTS the "
            "checkpoint and another OUTPUT_DIR, and leave out --resume:\n"
            + _listed(line for key, line in changed.items() if key in fixed)
        )
    if changed:
        logger.warning(
            "The config is not that of the checkpoint. From here on the run is not the one that never stopped:\n%s",
            _listed(changed.values()),
        )


def changes(stored: str, present: CfgNode) -> dict[str, str]:
    """A line for each key whose value differs and is not harmless, in the order of the keys."""
    now = dict(leaves(yaml.safe_load(present.dump())))
    before = {**_of_earlier_versions(now), **_values(stored)}
    empty = {key for values in (before, now) for key, value in values.items() if value == {}}  # nodes, not settings
    idle = {key for key, other in _IDLE_WITHOUT.items() if not before.get(other) and not now.get(other)}
    return {
        key: f"{key}: {before.get(key)!r} in the checkpoint, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(_HARMLESS) and key not in empty | idle
    }


def _values(stored: str) -> dict[str, Any]:
    """Those of a config, as YAML, by today's keys."""
    return by_present_keys(dict(leaves(yaml.safe_load(stored))))


def _of_earlier_versions(now: Mapping[str, Any]) -> dict[str, Any]:
    """What keys meant to versions of mtl_d2 that did not have them, which is their default but for a few."""
    defaults = get_cfg()
    add_mtl_config(defaults)
    beginning = {key: value for key, value in now.items() if key.endswith(_BEGINNING)}  # it is over
    return {**dict(leaves(yaml.safe_load(defaults.dump()))), **beginning, **_WITHOUT_THE_KEY}


def with_values(present: CfgNode, stored: str, keys: Iterable[str]) -> CfgNode:
    """A copy of a config that has the values of a stored one at ``keys``, as far as both know them."""
    before = _values(stored)
    known = dict(leaves(present))
    changed = present.clone()
    changed.defrost()
    for key in (key for key in keys if key in before and key in known):
        node = changed
        *path, name = key.split(".")
        for part in path:
            node = node[part]
        node[name] = tuple(before[key]) if isinstance(known[key], tuple) else before[key]
    return changed


def _kept(before: CfgNode, present: CfgNode, keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that are options of a method whose state they set: the checkpoint's takes its place."""
    nodes: dict[str, list[str]] = {}
    for key in keys:
        node = key.rpartition(".")[0]
        if node in _METHODS or node.rpartition(".")[0] in _METHODS:
            nodes.setdefault(key if node in _METHODS else node, []).append(key)
    if not nodes:
        return []
    old = build_balancer(before).state_dict()
    found = []
    for of_node in nodes.values():
        new = build_balancer(with_values(before, present.dump(), of_node)).state_dict()
        if old.keys() != new.keys() or any(not torch.equal(old[name], new[name]) for name in old):
            found += of_node
    return found


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"  - {line}" for line in lines)


def warn_of_ranks(before: int, now: int, reference: int) -> None:
    """Says what another number of processes changes.

    Args:
        before: processes of the run that wrote the checkpoint.
        now: processes that go on.
        reference: ``SOLVER.REFERENCE_WORLD_SIZE``.

    Raises:
        CheckpointError: the config follows the number of processes, and so counts updates of another size.
    """
    if before == now:
        return
    if reference:
        raise CheckpointError(
            f"the checkpoint was written by {before} processes, {now} go on, and with SOLVER.REFERENCE_WORLD_SIZE the "
            f"batch and every count of updates follow them, those that were made included: go on with {before}, or set "
            "it to 0 and write the scaled values, which are in config.yaml, into the config"
        )
    logger.warning(
        "The checkpoint was written by %d processes, %d go on. It is the same run but for two things: sums over "
        "processes are rounded in another order, and what draws from the global generators (dropout) draws anew. "
        "Parameters are then no longer equal bit for bit to those of a run that never stopped.",
        before,
        now,
    )


def require_same_data(changed: Sequence[str]) -> None:
    """Refuses to go on with other training records: the data's position counts samples in their order.

    Args:
        changed: a line for each data set that is not what it was.

    Raises:
        CheckpointError: there are such lines.
    """
    if changed:
        raise CheckpointError(
            "--resume goes on with the same training data; to begin anew from the weights, give MODEL.WEIGHTS the "
            "checkpoint, another OUTPUT_DIR, and leave out --resume:\n" + _listed(changed)
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
