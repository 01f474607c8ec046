"""Whether a config makes sense, before data and model are built."""

from __future__ import annotations

import difflib

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from detectron2.utils import comm

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.config import AMP_DTYPES, OPTIMIZERS, ConfigError, build_setup, method_options, needs_evaluation
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.tasks import LABELS


def check_mtl_config(cfg: CfgNode) -> None:
    """Checks everything that can be known before data and model are built.

    Raises:
        ConfigError: one line for each mistake, all of them at once.
    """
    load_methods()
    found = [*_check_tasks(cfg), *_check_methods(cfg), *_check_solver(cfg), *_check_data(cfg), *_check_model(cfg)]
    if found:
        raise ConfigError("the config has mistakes:\n" + "\n".join(f"  - {line}" for line in found))


def _check_tasks(cfg: CfgNode) -> list[str]:
    found = []
    if not cfg.MTL.TASKS:
        found.append("MTL.TASKS is empty; name at least one of " + ", ".join(LABELS))
    found += [unknown("MTL.TASKS", name, tuple(LABELS)) for name in cfg.MTL.TASKS if name not in LABELS]
    found += [f"MTL.TASKS names {n!r} twice" for n in sorted(set(cfg.MTL.TASKS)) if list(cfg.MTL.TASKS).count(n) > 1]
    return found


def _check_methods(cfg: CfgNode) -> list[str]:
    setup = build_setup(cfg)
    found = []
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
            found.append(unknown(f"{path}.{key}", name, registry.names()))
            continue
        method = registry.get(name)
        options = method_options(node, name, method)
        found += [f"{path}.{name.upper()}: {line}" for line in method.check(options, setup)]
    found += [*_check_geometric(cfg), *_check_level(cfg), *_check_communication(cfg)]
    if cfg.MTL.GRADIENT.EXACT_EVERY < 0:
        found.append(f"MTL.GRADIENT.EXACT_EVERY must be at least 1, or 0 for never, got {cfg.MTL.GRADIENT.EXACT_EVERY}")
    for key, value, known in [
        ("MTL.SCALARIZATION.MEAN", cfg.MTL.SCALARIZATION.MEAN, ("arithmetic", "geometric")),
        ("MTL.GRADIENT.SCALE", cfg.MTL.GRADIENT.SCALE, ("method", "sum", "mean")),
        ("MTL.GRADIENT.LEVEL", cfg.MTL.GRADIENT.LEVEL, ("all", "last_layer", "features")),
        ("MTL.GRADIENT.HEADS", cfg.MTL.GRADIENT.HEADS, ("method", "weights")),
    ]:
        if value not in known:
            found.append(unknown(key, value, known))
    return found


def _check_communication(cfg: CfgNode) -> list[str]:
    """Methods that look at whole rows cannot do with parts of them."""
    known = ("auto", "all_reduce", "reduce_scatter")
    found = []
    if cfg.MTL.CHECK_REPLICAS < 0:
        found.append(f"MTL.CHECK_REPLICAS must be at least 0, got {cfg.MTL.CHECK_REPLICAS}")
    if cfg.MTL.COMMUNICATION not in known:
        found.append(unknown("MTL.COMMUNICATION", cfg.MTL.COMMUNICATION, known))
    if cfg.MTL.COMMUNICATION != "reduce_scatter":
        return found
    chosen = [
        ("MTL.GRADIENT.AGGREGATOR", cfg.MTL.GRADIENT.AGGREGATOR, AGGREGATORS, "elementwise"),
        ("MTL.STEP.NAME", cfg.MTL.STEP.NAME, STEPS, "several_points"),
    ]
    return found + [
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
        ("MTL.STEP.NAME", cfg.MTL.STEP.NAME, STEPS, "several_points"),
    ]
    return [
        f"{key} {name!r} needs each task's gradient of the parameters; MTL.GRADIENT.LEVEL 'features' has none: set it "
        "to 'all'"
        for key, name, registry, attribute in chosen
        if name in registry.names() and getattr(registry.get(name), attribute)
    ]


def _check_geometric(cfg: CfgNode) -> list[str]:
    name = cfg.MTL.SCALARIZATION.NAME
    if cfg.MTL.SCALARIZATION.MEAN != "geometric" or name not in WEIGHTINGS.names() or WEIGHTINGS.get(name).geometric:
        return []
    fitting = ", ".join(other for other, method in WEIGHTINGS if method.geometric)
    return [
        f"MTL.SCALARIZATION.MEAN 'geometric' is undefined with {name!r}, whose sum has terms that are no weights; "
        f"it goes with {fitting}"
    ]


def _check_solver(cfg: CfgNode) -> list[str]:
    found = [
        f"{key} must be at least 1, got {value}"
        for key, value in [
            ("SOLVER.MAX_ITER", cfg.SOLVER.MAX_ITER),
            ("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH),
            ("MTL.LOG_PERIOD", cfg.MTL.LOG_PERIOD),
            ("MTL.ACCUMULATE", cfg.MTL.ACCUMULATE),
        ]
        if value < 1
    ]
    if cfg.MTL.OPTIMIZER not in OPTIMIZERS:
        found.append(unknown("MTL.OPTIMIZER", cfg.MTL.OPTIMIZER, OPTIMIZERS))
    found += [*_check_precision(cfg), *_check_accumulation(cfg), *_check_compile(cfg)]
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    known = ("value", "norm", "full_model")
    if clipping.ENABLED and clipping.CLIP_TYPE not in known:
        found.append(unknown("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clipping.CLIP_TYPE, known))
    if clipping.ENABLED and clipping.CLIP_VALUE <= 0:
        found.append(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE must be > 0, got {clipping.CLIP_VALUE}")
    return found


def _check_precision(cfg: CfgNode) -> list[str]:
    if cfg.MTL.AMP_DTYPE not in AMP_DTYPES:
        return [unknown("MTL.AMP_DTYPE", cfg.MTL.AMP_DTYPE, tuple(AMP_DTYPES))]
    cuda = cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()
    if cfg.SOLVER.AMP.ENABLED and cfg.MTL.AMP_DTYPE == "bfloat16" and cuda and not torch.cuda.is_bf16_supported():
        return [f"MTL.AMP_DTYPE 'bfloat16' is unknown to {torch.cuda.get_device_name()}; take 'float16'"]
    return []


def _check_accumulation(cfg: CfgNode) -> list[str]:
    share, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size())
    if rest or cfg.MTL.ACCUMULATE < 1 or share % cfg.MTL.ACCUMULATE == 0:
        return []
    return [
        f"MTL.ACCUMULATE must divide each process's share of SOLVER.IMS_PER_BATCH, {share} images, got "
        f"{cfg.MTL.ACCUMULATE}"
    ]


def _check_compile(cfg: CfgNode) -> list[str]:
    name = cfg.MTL.REGULARIZER.NAME
    if not cfg.MTL.COMPILE or name not in REGULARIZERS.names():
        return []
    method = REGULARIZERS.get(name)
    if not method.differentiates_twice(method_options(cfg.MTL.REGULARIZER, name, method)):  # type: ignore[attr-defined]
        return []
    return [f"MTL.COMPILE does not go with MTL.REGULARIZER.NAME {name!r}: a compiled trunk has no second derivatives"]


def _check_data(cfg: CfgNode) -> list[str]:
    found = []
    if not cfg.DATASETS.TRAIN:
        found.append("DATASETS.TRAIN is empty; name the data sets to train on")
    per_task, names = cfg.MTL.DATA.PER_TASK, cfg.DATASETS.TRAIN
    if per_task and len(per_task) != len(names):
        found.append(f"MTL.DATA.PER_TASK needs one number for each of DATASETS.TRAIN {tuple(names)}, got {per_task}")
    elif per_task and (sum(per_task) != cfg.SOLVER.IMS_PER_BATCH or min(per_task) < 0):
        found.append(
            f"MTL.DATA.PER_TASK {tuple(per_task)} must be counts that add up to SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}"
        )
    return [*found, *_check_validation(cfg)]


def _check_validation(cfg: CfgNode) -> list[str]:
    share, period, found = cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD, []
    metric = cfg.MTL.SELECT_BY
    if metric and not all(metric.partition("/")):
        found.append(f"MTL.SELECT_BY must be 'group/metric' such as 'bbox/AP', or empty, got {metric!r}")
    if metric and not cfg.DATASETS.TEST:
        found.append(
            f"MTL.SELECT_BY {metric!r} is a metric of an evaluation, but DATASETS.TEST is empty: name test sets"
        )
    if not 0 <= share < 1:
        found.append(f"MTL.DATA.VALIDATION_SHARE must be in [0, 1), got {share}")
    elif share == 0 and needs_evaluation(cfg):
        found.append(
            "MTL.DATA.VALIDATION_SHARE must be > 0, or the weights would be chosen on the test set: "
            f"MTL.SCALARIZATION.NAME {cfg.MTL.SCALARIZATION.NAME!r} takes accuracies; got {share}, try 0.1"
        )
    if period < 1 and needs_evaluation(cfg):
        found.append(
            f"TEST.EVAL_PERIOD must be at least 1, got {period}: MTL.SCALARIZATION.NAME "
            f"{cfg.MTL.SCALARIZATION.NAME!r} takes accuracies every so many updates"
        )
    return found


def _check_model(cfg: CfgNode) -> list[str]:
    models = {name: cls for name, cls in META_ARCH_REGISTRY if issubclass(cls, MultiTaskMixin)}
    name = cfg.MODEL.META_ARCHITECTURE
    found = models[name].check(cfg) if name in models else [unknown("MODEL.META_ARCHITECTURE", name, tuple(models))]
    if "semantic" not in cfg.MTL.TASKS:
        return found
    heads = {name: cls for name, cls in SEM_SEG_HEADS_REGISTRY if hasattr(cls, "task_losses")}
    head = cfg.MODEL.SEM_SEG_HEAD.NAME
    if head not in heads:
        found.append(
            f"MODEL.SEM_SEG_HEAD.NAME is {head!r}; a head that trains on its own sub-batch has a method "
            f"task_losses: {', '.join(heads)}"
        )
    elif hasattr(heads[head], "check"):
        found += heads[head].check(cfg)
    return found


def unknown(key: str, value: object, known: tuple[str, ...]) -> str:
    """A sentence that says that ``value`` is not one of ``known``, with the nearest of them."""
    near = difflib.get_close_matches(str(value), known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{key} is {value!r}, which is none of {', '.join(map(repr, known))}{guess}"
