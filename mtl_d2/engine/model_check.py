"""Whether a model can do what its config asks of it: what is known only once it has been built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import nn

from mtl_d2.balancing import REGULARIZERS, Balancer
from mtl_d2.config import ConfigError, method_options
from mtl_d2.engine.last_layer import last_layer_mistakes
from mtl_d2.modeling.norm import synchronizes
from mtl_d2.tasks.options import option_key, task_options
from mtl_d2.tasks.registry import kinds_of


def check_model(model: Any, balancer: Balancer, cfg: Any) -> None:
    """Checks the model before its first update.

    Args:
        model: a ``MultiTaskMixin`` in training mode.
        balancer: of the same config.
        cfg: the config.

    Raises:
        ConfigError: one line for each mistake, all of them at once.
    """
    mistakes = [
        *last_layer_mistakes(model, balancer, cfg),
        *_wrong_strides(model, cfg),
        *_features_apart(model, cfg),
        *_wrong_norms(model, cfg),
        *_wrong_sources(model, cfg),
    ]
    if mistakes:
        raise ConfigError("the config does not fit its model:\n" + "\n".join(f"  - {line}" for line in mistakes))


def _wrong_strides(model: Any, cfg: Any) -> Iterator[str]:
    """detectron2's heads die of a wrong stride at the first image."""
    kinds = [kind for kind in kinds_of(cfg.MTL.TASKS) if kind.builds_layers() and kind.options]
    for kind in kinds:
        there, head = model.backbone.output_shape(), task_options(cfg, kind)
        if not {"IN_FEATURES", "COMMON_STRIDE"} <= head.keys():
            continue
        stride, finest = head.COMMON_STRIDE, min(there[level].stride for level in head.IN_FEATURES)
        if not 0 < stride <= finest or finest % stride or (finest // stride).bit_count() != 1:
            yield (
                f"{option_key(cfg, kind, 'COMMON_STRIDE')} must be {finest}, the stride of the finest of its "
                f"IN_FEATURES, or a half, a quarter, ... of it, got {stride}"
            )


def _features_apart(model: Any, cfg: Any) -> list[str]:
    """At level "features", tasks are compared by the pyramid levels that both look at."""
    if cfg.MTL.GRADIENT.LEVEL != "features" or not hasattr(model, "task_levels") or len(model.tasks) < 2:
        return []
    levels = {task: set(names) for task, names in model.task_levels().items()}
    alone = [
        t for t, names in levels.items() if not any(names & other_names for o, other_names in levels.items() if o != t)
    ]
    if not alone:
        return []
    return [
        f"MTL.GRADIENT.LEVEL 'features' compares tasks by the pyramid levels that both look at, and task "
        f"{', '.join(alone)} shares none with another ({levels}): set it to 'all'"
    ]


def _wrong_norms(model: Any, cfg: Any) -> list[str]:
    """SyncBN waits for other processes, so each of its kinds has needs of its own; for one process it is batch norm."""
    if comm.get_world_size() == 1:
        return []
    norms = {name: module for name, module in model.named_modules() if synchronizes(module)}
    mistakes = []
    on_device = [name for name, module in norms.items() if isinstance(module, nn.SyncBatchNorm)]
    if on_device and cfg.MODEL.DEVICE == "cpu":
        mistakes.append(
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
        mistakes.append(
            f"{len(equal)} norms of heads are 'naiveSyncBN' ({equal[0]}, ...), which counts every process alike, also "
            "one that has no sample of the task: take 'naiveSyncBN_N', or 'SyncBN' on GPUs"
        )
    return [*mistakes, *_no_second_derivative(cfg, norms)]


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


def _wrong_sources(model: Any, cfg: Any) -> Iterator[str]:
    """Pseudo labels need a model that gives its tasks two sources of labels; SyncBN, layers that run once for both."""
    if not cfg.MTL.PSEUDO_LABELS.FOLDERS:
        return
    key = "MTL.PSEUDO_LABELS.FOLDERS"
    if any(len(task.sources) == 1 for task in model.tasks):
        yield (
            f"{key} is set, but {type(model).__name__} learns from the ground truth alone: have it give `set_heads` "
            "the `label_sources(cfg)`, or empty the list"
        )
    elif comm.get_world_size() > 1:
        for task, head in model.task_heads.items():
            if model.synchronizes(task) and getattr(head, "losses_of_outputs", None) is None:
                yield (
                    f"{key}: the head of task {task!r} runs once for each source of labels, and its SyncBN would wait "
                    "for processes that have none from one of them: take 'GN' or 'FrozenBN' for its norm"
                )
