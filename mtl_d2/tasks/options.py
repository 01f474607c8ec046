"""The options of one task's head: those of its kind, and what ``MTL.TASK_OPTIONS`` has for this task alone."""

from __future__ import annotations

from detectron2.config import CfgNode

from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.registry import is_known, kind_of

NODE = "MTL.TASK_OPTIONS"
LISTS = "MTL.DATA.CLASSES"


def node_of(cfg: CfgNode, path: str) -> CfgNode:
    """The node of ``cfg`` at a dotted path."""
    for name in path.split("."):
        cfg = cfg[name]
    return cfg


def task_config(cfg: CfgNode, kind: TaskKind) -> CfgNode:
    """``cfg``, in whose node ``kind.options`` are the options of this task: a head is built of it like any other."""
    given = cfg.MTL.TASK_OPTIONS.get(kind.task)
    if not given:
        return cfg
    task_cfg = cfg.clone()
    task_cfg.defrost()
    node_of(task_cfg, kind.options).update(given)
    return task_cfg


def task_options(cfg: CfgNode, kind: TaskKind) -> CfgNode:
    """The options of this task's head."""
    return node_of(task_config(cfg, kind), kind.options)


def option_key(cfg: CfgNode, kind: TaskKind, option: str) -> str:
    """The config key that an option of this task comes from."""
    given = cfg.MTL.TASK_OPTIONS.get(kind.task) or {}
    return f"{NODE}.{kind.task}.{option}" if option in given else f"{kind.options}.{option}"


def without_room(cfg: CfgNode, key: str) -> str:
    """Why there is no such key below ``MTL.TASK_OPTIONS``, in words; empty if ``key`` is none of those."""
    if not key.startswith(f"{NODE}."):
        return ""
    task, _, _ = key.removeprefix(f"{NODE}.").rpartition(".")
    if not is_known(task):
        return f"{key} (it must be {NODE}.<task>.<option>)" if not task else f"{key} (there is no task {task!r})"
    if not kind_of(task).options:
        return f"{key} ({task!r} has no options of its own)"
    known = ", ".join(sorted(node_of(cfg, kind_of(task).options)))
    return f"{key} ({task!r} has {known})"


def make_room(cfg: CfgNode, key: str) -> bool:
    """Has ``cfg`` hold a key of a named task, so that a value of the option's type can be merged into it.

    Returns:
        whether there is such a key: ``MTL.TASK_OPTIONS.<task>.<option>``, of an option that the task's kind has, or
        ``MTL.DATA.CLASSES.<list>/<name>``, of a list that there is.
    """
    listed, slash, own_name = key.removeprefix(f"{LISTS}.").partition("/")
    if key.startswith(f"{LISTS}.") and slash and own_name.isidentifier() and listed in node_of(cfg, LISTS):
        node_of(cfg, LISTS).setdefault(f"{listed}/{own_name}", ())
        return True
    task, _, option = key.removeprefix(f"{NODE}.").rpartition(".")
    if not key.startswith(f"{NODE}.") or not is_known(task) or not kind_of(task).options:
        return False
    options = node_of(cfg, kind_of(task).options)
    if option not in options:
        return False
    cfg.MTL.TASK_OPTIONS.setdefault(task, CfgNode()).setdefault(option, options[option])
    return True
