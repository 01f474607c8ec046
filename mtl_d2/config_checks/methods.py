"""Tasks, and the methods that balance them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from detectron2.config import CfgNode

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS
from mtl_d2.balancing.checks import mistakes
from mtl_d2.balancing.scalarization import MEANS
from mtl_d2.config import build_setup, method_options
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.options import task_config
from mtl_d2.tasks.registry import all_kinds, is_known, kinds_of, names


def check_tasks(cfg: CfgNode) -> list[str]:
    """The names of the tasks, and the options of their heads."""
    tasks = list(cfg.MTL.TASKS)
    mistakes = [] if tasks else ["MTL.TASKS is empty; name at least one of " + ", ".join(names())]
    mistakes += [_no_such_task(task) for task in tasks if not is_known(task)]
    mistakes += [f"MTL.TASKS names {task!r} twice" for task in sorted(set(tasks)) if tasks.count(task) > 1]
    mistakes += _mistyped_options(cfg)
    for kind in kinds_of(filter(is_known, tasks)):
        if kind.own_name and not kind.several:
            mistakes.append(f"MTL.TASKS has {kind.task!r}, but a model has one task {kind.name!r}: name it so")
        mistakes += kind.check_config(task_config(cfg, kind))
    return [*mistakes, *_without_pseudo_labels(cfg)]


def _without_pseudo_labels(cfg: CfgNode) -> Iterator[str]:
    """Folders of pseudo labels for tasks of which there are none."""
    kinds = kinds_of(filter(is_known, cfg.MTL.TASKS))
    if cfg.MTL.PSEUDO_LABELS.FOLDERS and kinds and not any(kind.pseudo_labels() for kind in kinds):
        known = [kind.name for kind in all_kinds() if kind.pseudo_labels is not TaskKind.pseudo_labels]
        yield (
            f"MTL.PSEUDO_LABELS.FOLDERS is set, but there are no pseudo labels of tasks like {tuple(cfg.MTL.TASKS)}, "
            f"only of {', '.join(known)}: empty the list"
        )


def _mistyped_options(cfg: CfgNode) -> Iterator[str]:
    """Options of a task that is not trained, where their name is nearly one that is; others are of another run's."""
    tasks = [task for task in cfg.MTL.TASKS if isinstance(task, str) and task not in cfg.MTL.TASK_OPTIONS]
    for given in cfg.MTL.TASK_OPTIONS:
        near = difflib.get_close_matches(given, tasks, n=1, cutoff=0.8)
        if given not in cfg.MTL.TASKS and near:
            yield (
                f"MTL.TASK_OPTIONS has options of {given!r}, which is none of MTL.TASKS {tuple(cfg.MTL.TASKS)}; did "
                f"you mean {near[0]!r}?"
            )


def _no_such_task(task: object) -> str:
    kind, slash, own_name = str(task).partition("/")
    if slash and is_known(kind):
        return (
            f"MTL.TASKS has {task!r}: the name after '{kind}/' must be of letters, digits and '_', not a digit first, "
            f"got {own_name!r}"
        )
    return unknown("MTL.TASKS", task, names())


def check_methods(cfg: CfgNode) -> list[str]:
    """The methods, their options, and what goes with what."""
    setup = build_setup(cfg)
    lines = []
    choices = [
        ("MTL.ALLOCATION", "NAME", cfg.MTL.ALLOCATION, ALLOCATIONS),
        ("MTL.SCALARIZATION", "NAME", cfg.MTL.SCALARIZATION, WEIGHTINGS),
        ("MTL.GRADIENT", "AGGREGATOR", cfg.MTL.GRADIENT, AGGREGATORS),
        ("MTL.STEP", "NAME", cfg.MTL.STEP, STEPS),
    ]
    if cfg.MTL.GRADIENT.RESCALE:
        choices.append(("MTL.GRADIENT", "RESCALE", cfg.MTL.GRADIENT, ROW_SCALINGS))
    if cfg.MTL.REGULARIZER.NAME:
        choices.append(("MTL.REGULARIZER", "NAME", cfg.MTL.REGULARIZER, REGULARIZERS))
    for path, key, node, registry in choices:
        name = node[key]
        if name not in registry.names():
            lines.append(unknown(f"{path}.{key}", name, registry.names()))
            continue
        method = registry.get(name)
        lines += mistakes(method, method_options(node, name, method), setup, f"{path}.{name.upper()}.")
    lines += [*_check_geometric(cfg), *_check_level(cfg), *_check_communication(cfg)]
    if not 0 <= cfg.MTL.GRADIENT.SMOOTH < 1:
        lines.append(f"MTL.GRADIENT.SMOOTH must be in [0, 1), got {cfg.MTL.GRADIENT.SMOOTH}")
    name = cfg.MTL.GRADIENT.AGGREGATOR
    if cfg.MTL.GRADIENT.SMOOTH and name in AGGREGATORS.names() and AGGREGATORS.get(name).elementwise:
        lines.append(f"MTL.GRADIENT.SMOOTH does nothing with {name!r}, which chooses in every element: set it to 0")
    if cfg.MTL.GRADIENT.EXACT_EVERY < 0:
        lines.append(f"MTL.GRADIENT.EXACT_EVERY must be at least 1, or 0 for never, got {cfg.MTL.GRADIENT.EXACT_EVERY}")
    for key, value, known in [
        ("MTL.SCALARIZATION.MEAN", cfg.MTL.SCALARIZATION.MEAN, MEANS),
        ("MTL.GRADIENT.SCALE", cfg.MTL.GRADIENT.SCALE, ("method", "sum", "mean")),
        ("MTL.GRADIENT.LEVEL", cfg.MTL.GRADIENT.LEVEL, ("all", "last_layer", "features")),
        ("MTL.GRADIENT.HEADS", cfg.MTL.GRADIENT.HEADS, ("method", "weights")),
    ]:
        if value not in known:
            lines.append(unknown(key, value, known))
    return lines


def _check_communication(cfg: CfgNode) -> list[str]:
    """Methods that look at whole rows cannot do with parts of them."""
    known = ("auto", "all_reduce", "reduce_scatter")
    lines = []
    if cfg.MTL.CHECK_REPLICAS < 0:
        lines.append(f"MTL.CHECK_REPLICAS must be at least 0, got {cfg.MTL.CHECK_REPLICAS}")
    if cfg.MTL.COMMUNICATION not in known:
        lines.append(unknown("MTL.COMMUNICATION", cfg.MTL.COMMUNICATION, known))
    if cfg.MTL.COMMUNICATION != "reduce_scatter":
        return lines
    chosen = [
        ("MTL.GRADIENT.AGGREGATOR", cfg.MTL.GRADIENT.AGGREGATOR, AGGREGATORS, "elementwise"),
        ("MTL.STEP.NAME", cfg.MTL.STEP.NAME, STEPS, "several_points"),
    ]
    return lines + [
        f"{key} {name!r} looks at whole gradients; MTL.COMMUNICATION 'reduce_scatter' leaves each process a part of "
        "them: set it to 'auto'"
        for key, name, registry, attribute in chosen
        if name in registry.names() and getattr(registry.get(name), attribute)
    ]


def _check_level(cfg: CfgNode) -> list[str]:
    """At level "features" there are no rows of the parameters."""
    if cfg.MTL.GRADIENT.LEVEL != "features":
        return []
    chosen = [
        ("MTL.SCALARIZATION.NAME", cfg.MTL.SCALARIZATION.NAME, WEIGHTINGS, "needs_rows"),
        ("MTL.GRADIENT.AGGREGATOR", cfg.MTL.GRADIENT.AGGREGATOR, AGGREGATORS, "elementwise"),
        ("MTL.GRADIENT.AGGREGATOR", cfg.MTL.GRADIENT.AGGREGATOR, AGGREGATORS, "bounds_length"),
        ("MTL.STEP.NAME", cfg.MTL.STEP.NAME, STEPS, "several_points"),
    ]
    return [
        f"{key} {name!r} needs each task's gradient of the parameters; MTL.GRADIENT.LEVEL 'features' has none: set it "
        "to 'all'"
        for key, name, registry, attribute in chosen
        if name in registry.names() and getattr(registry.get(name), attribute)
    ]


def _check_geometric(cfg: CfgNode) -> list[str]:
    name, mean = cfg.MTL.SCALARIZATION.NAME, cfg.MTL.SCALARIZATION.MEAN
    if mean not in MEANS[1:] or name not in WEIGHTINGS.names() or WEIGHTINGS.get(name).geometric:
        return []
    fitting = ", ".join(candidate for candidate, method in WEIGHTINGS if method.geometric)
    return [
        f"MTL.SCALARIZATION.MEAN {mean!r} is undefined with {name!r}, whose S is no weighted mean of the losses or has "
        f"its own way with their scales; it goes with {fitting}"
    ]
