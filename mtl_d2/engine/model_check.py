"""Whether a model can do what its config asks of it: what is known only once it has been built."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import nn

from mtl_d2.balancing import REGULARIZERS, Balancer
from mtl_d2.config import ConfigError, method_options
from mtl_d2.engine.last_layer import last_layer_mistakes
from mtl_d2.modeling.norm import synchronizes

# What builders raise of names, depths and sizes that do not go together.
UNBUILDABLE = (AssertionError, KeyError, NotImplementedError, TypeError, ValueError)


def why_unbuildable(error: Exception) -> str:
    """A line of what a builder raised, with the code of the model that it came to, which names the key."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "modeling" in Path(f.filename).parts), frames[-1])
    said = " ".join(str(error).split())
    return (
        f"no model can be built of the keys below MODEL ({type(error).__name__}: {said}; {Path(place.filename).name}, "
        f"line {place.lineno}: {place.line}): correct the key that is read there"
    )


def check_model(model: Any, balancer: Balancer, cfg: Any) -> None:
    """Checks the model before its first update.

    Args:
        model: a ``MultiTaskMixin`` in training mode.
        balancer: of the same config.
        cfg: the config.

    Raises:
        ConfigError: one line for each mistake, all of them at once.
    """
    found = [
        *last_layer_mistakes(model, balancer, cfg),
        *_features_apart(model, cfg),
        *_absent_features(model, cfg),
        *_wrong_norms(model, cfg),
    ]
    if found:
        raise ConfigError("the config does not fit its model:\n" + "\n".join(f"  - {line}" for line in found))


def _features_apart(model: Any, cfg: Any) -> list[str]:
    """At level "features", tasks are compared by the pyramid levels that both look at."""
    if cfg.MTL.GRADIENT.LEVEL != "features" or not hasattr(model, "task_levels") or len(model.tasks) < 2:
        return []
    levels = {task: set(own) for task, own in model.task_levels().items()}
    alone = [t for t, own in levels.items() if not any(own & other for o, other in levels.items() if o != t)]
    if not alone:
        return []
    return [
        f"MTL.GRADIENT.LEVEL 'features' compares tasks by the pyramid levels that both look at, and task "
        f"{', '.join(alone)} shares none with another ({levels}): set it to 'all'"
    ]


def _absent_features(model: Any, cfg: Any) -> list[str]:
    """detectron2's semantic head takes those of its features that there are; other heads do not build without all."""
    if "semantic" not in cfg.MTL.TASKS or not hasattr(model, "backbone"):
        return []
    levels = model.backbone.output_shape()
    absent = [name for name in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES if name not in levels]
    if not absent:
        return []
    return [f"MODEL.SEM_SEG_HEAD.IN_FEATURES has {', '.join(absent)}, but the trunk gives {', '.join(levels)}"]


def _wrong_norms(model: Any, cfg: Any) -> list[str]:
    """SyncBN waits for other processes, so each of its kinds has needs of its own; for one process it is batch norm."""
    if comm.get_world_size() == 1:
        return []
    norms = {name: module for name, module in model.named_modules() if synchronizes(module)}
    found = []
    on_device = [name for name, module in norms.items() if isinstance(module, nn.SyncBatchNorm)]
    if on_device and cfg.MODEL.DEVICE == "cpu":
        found.append(
            f"{len(on_device)} norms are torch's SyncBN ({on_device[0]}, ...), which does not run on MODEL.DEVICE "
            "'cpu': take 'naiveSyncBN_N', or 'GN'"
        )
    heads = tuple(f"{module}." for task in model.tasks for module in task.head_modules)
    equal = [
        name
        for name, module in norms.items()
        if name.startswith(heads) and isinstance(module, NaiveSyncBatchNorm) and module._stats_mode == ""
    ]
    if equal:
        found.append(
            f"{len(equal)} norms of heads are 'naiveSyncBN' ({equal[0]}, ...), which counts every process alike, also "
            "one that has no sample of the task: take 'naiveSyncBN_N', or 'SyncBN' on GPUs"
        )
    return [*found, *_no_second_derivative(cfg, norms)]


def _no_second_derivative(cfg: Any, norms: dict[str, nn.Module]) -> list[str]:
    name = cfg.MTL.REGULARIZER.NAME
    if not norms or not name:
        return []
    method = REGULARIZERS.get(name)
    if not method.differentiates_twice(method_options(cfg.MTL.REGULARIZER, name, method)):  # type: ignore[attr-defined]
        return []
    return [
        f"MTL.REGULARIZER.NAME {name!r} needs second derivatives, and SyncBN ({next(iter(norms))}, ...) has none "
        f"between processes: set MTL.REGULARIZER.{name.upper()}.DOUBLE_BACKWARD to 'finite'"
    ]
