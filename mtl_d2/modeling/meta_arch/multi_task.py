"""What every multi-task meta-architecture has in common, whatever its heads are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, partial
from math import log2
from typing import Any, ClassVar, cast

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_d2.config import ConfigError
from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.heads.by_source import losses_by_source, source_without_samples, sources_of, weighted_terms
from mtl_d2.modeling.heads.map_layers import LooksIntoTrunk
from mtl_d2.modeling.norm import synchronizes, without_samples
from mtl_d2.modeling.wanted import Wanted
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import TaskHead, TaskKind
from mtl_d2.tasks.options import option_key, task_config, task_options
from mtl_d2.tasks.registry import all_kinds, is_known, kind_of, kinds_of
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource, Task, head_parameters


class MultiTaskMixin:
    """Adds to a detectron2 meta-architecture what ``mtl_d2.balancing`` asks of a model: a trunk, and heads on it.

    The host class calls ``set_heads``, gives ``preprocess_image`` as detectron2 has it, a ``backbone`` that all tasks
    share, and in ``detector_heads`` what it brings itself.

    Attributes:
        brings: the kinds of task that ``detector_heads`` has heads for.
        has_pyramid: whether its features are a pyramid that other kinds of task can look at.
        classes_option: config key of its number of classes of objects.
        image_shape: channels, height and width of all images; None where they may have any size.
        wanted: the predictions that it makes; see ``predicting``.
    """

    brings: ClassVar[tuple[str, ...]] = ()
    has_pyramid: ClassVar[bool] = True
    classes_option: ClassVar[str] = "MODEL.ROI_HEADS.NUM_CLASSES"
    image_shape: tuple[int, ...] | None = None

    tasks: tuple[Task, ...]
    task_heads: dict[str, TaskHead]
    training: bool
    backbone: Any
    preprocess_image: Callable[[list[dict]], Any]
    wanted: Wanted = Wanted()

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """One sentence for each thing in ``cfg`` that this model cannot do."""
        usable = [kind for kind in all_kinds() if kind.name in cls.brings or (cls.has_pyramid and kind.builds_layers())]
        known = ", ".join(kind.pattern() for kind in usable)
        return [
            f"MTL.TASKS: {cls.__name__} has no task {task!r}; it has {known}"
            for task in filter(is_known, cfg.MTL.TASKS)
            if type(kind_of(task)) not in usable
        ]

    @staticmethod
    def build_task_layers(cfg: CfgNode, shapes: Mapping[str, Any]) -> dict[str, nn.Module]:
        """The layers of each task that has its own on the pyramid, whose features have ``shapes``.

        Raises:
            ConfigError: a head is to look at a level that is not there, or its layers cannot be built on those.
        """
        for kind in kinds_of(cfg.MTL.TASKS):
            levels = task_options(cfg, kind).get("IN_FEATURES", ()) if kind.builds_layers() and kind.options else ()
            for level in levels:
                if level not in shapes:  # of which detectron2's heads say nothing
                    raise ConfigError(unknown(option_key(cfg, kind, "IN_FEATURES"), level, tuple(shapes)))
        built = {kind.task: _layers_of(cfg, kind, shapes) for kind in kinds_of(cfg.MTL.TASKS)}
        return {task: layers for task, layers in built.items() if layers is not None}

    def set_heads(
        self, tasks: Sequence[str], layers: Mapping[str, nn.Module], sources: Sequence[LabelSource] = (GROUND_TRUTH,)
    ) -> None:
        """Settles the tasks, once the detector's modules are there.

        Args:
            tasks: their names, in the order of all weights and logs.
            layers: of those that have their own.
            sources: of their labels; ``label_sources(cfg)`` are those of a config.

        Raises:
            ValueError: the layers of a task would take the place of something else.
        """
        heads = {head.task.name: head for head in self.detector_heads()}
        for task, module in layers.items():
            kind = kind_of(task)
            if not kind.module.isidentifier() or hasattr(self, kind.module):
                raise ValueError(
                    f"the layers of task {task!r} cannot be the attribute {kind.module!r} of {type(self).__name__}: "
                    f"`module` of {type(kind).__name__} must be a name that nothing else in the model has"
                )
            setattr(self, kind.module, module)
            for part in _looking(module):
                part.look_into(self.backbone)
            heads[task] = kind.build_head(module)
        self.task_heads = {task: heads[task] for task in tasks}
        self.tasks = tuple(head.task.with_sources(sources) for head in self.task_heads.values())

    def detector_heads(self) -> list[TaskHead]:
        """What the detector brings: a head for each of its branches."""
        return []

    def task_levels(self) -> dict[str, list[str]]:
        """The features that each head looks at."""
        return {task: list(head.levels) for task, head in self.task_heads.items()}

    def task_losses(
        self, task: str, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The terms of one task's loss over ``samples``; see ``MultiTaskModel``.

        Raises:
            ValueError: a term that the task does not name would never be trained.
        """
        head = self.task_heads[task]
        terms = losses_by_source(head, self._task(task), features, samples, reduction)
        unnamed = sorted(terms.keys() - set(self._task(task).loss_keys))
        if unnamed:
            raise ValueError(
                f"the loss of task {task!r} has terms {unnamed}, but its loss_keys are {head.task.loss_keys}"
            )
        return terms

    def _task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def forward(self, batched_inputs: list[dict]) -> Any:
        """Loss terms by name in training; in evaluation a dict for each image, with the predictions by their keys."""
        return self.training_losses(batched_inputs) if self.training else self.inference(batched_inputs)

    def inference(self, batched_inputs: list[dict]) -> list[dict[str, Any]]:
        """detectron2's output format: for each image a dict with the tasks' predictions, at the original size."""
        images = self.preprocess_image(batched_inputs)
        features = self.shared_features(images.tensor)
        sizes = [
            (sample.get("height", size[0]), sample.get("width", size[1]))
            for sample, size in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        outputs: list[dict[str, Any]] = [{} for _ in batched_inputs]
        for head in self.task_heads.values():
            if head.output_key is not None and self.wanted.needs(head.task.name, head.output_key):
                predict = head.predict
                if head.task.name in self.wanted.class_ids and hasattr(head, "predict_ids"):
                    predict = partial(head.predict_ids, classes_at=self.wanted.classes_at)
                for output, prediction in zip(outputs, predict(features, images, sizes), strict=True):
                    output[head.output_key] = prediction
        return outputs

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, 3, H, W) normalized images, padded to the largest and to a multiple of the pyramid's stride."""
        return self.preprocess_image(samples).tensor

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Tasks that supervise a mapped sample: those it says in ``tasks``, else those it has labels for."""
        if "tasks" in sample:
            return _in_order(tuple(self.task_heads), tuple(sample["tasks"]))
        return tuple(task.name for task in self.tasks if any(sources_of(task, sample)))

    def sample_sources(self, sample: dict, task: str) -> tuple[bool, ...]:
        """See ``MultiTaskModel``."""
        return sources_of(self._task(task), sample)

    def shared_features(self, images: Tensor) -> dict[str, Tensor]:
        """The pyramid of ``images`` ((N, 3, H, W)) by level name."""
        with nullcontext() if len(images) else without_samples(self.backbone):
            return self.backbone(images)

    def mixes_samples(self) -> bool:
        """Whether the trunk has a batch norm that takes its statistics from the batch."""
        return any(isinstance(m, _BatchNorm) and m.training for m in self.backbone.modules())

    def synchronizes(self, task: str | None = None) -> bool:
        """Whether the head of ``task``, or the trunk, has a batch norm with the statistics of all processes."""
        model = cast(nn.Module, self)
        heads = {known.name: known.head_modules for known in self.tasks}
        parts = [self.backbone] if task is None else [model.get_submodule(name) for name in heads[task]]
        return any(synchronizes(module) for part in parts for module in part.modules())

    def head_outputs(self, task: str, features: dict[str, Tensor]) -> list[Tensor]:
        """See ``MultiTaskModel``."""
        with without_samples(cast(nn.Module, self)):
            head = self.task_heads[task]
            return [*(features[level] for level in head.levels), *head.outputs(features)]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Those of the last layers of the features that two heads or more look at; of all, if there is one head.

        A trunk says by ``last_layers(names)`` which modules they are; in a pyramid they are its output convolutions.
        Empty where there is no such feature or layer.
        """
        used = Counter(level for levels in self.task_levels().values() for level in levels)
        shared = [level for level in sorted(used) if used[level] >= min(2, len(self.tasks))]
        find = getattr(self.backbone, "last_layers", self._output_convolutions)
        return [p for module in find(shared) for p in module.parameters()]

    def _output_convolutions(self, levels: Sequence[str]) -> list[nn.Module]:
        """Of a pyramid."""
        strides = {level: shape.stride for level, shape in self.backbone.output_shape().items()}
        named = [getattr(self.backbone, f"fpn_output{int(log2(strides[level]))}", None) for level in levels]
        return [module for module in named if module is not None]

    def reached_parameters(self) -> dict[str, list[str]]:
        """For each task the trainable parameters that what it looks at depends on, in the order of their use.

        A small black image crosses the trunk in evaluation mode, which leaves nothing behind.
        """
        model = cast(nn.Module, self)
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        modes, order = {module: module.training for module in model.modules()}, []
        hooks = [
            module.register_forward_hook(lambda *_, name=name: order.append(name))
            for name, module in model.named_modules()
        ]
        try:
            model.eval()
            features = self.shared_features(self._black_image())
            outputs = {task: self.before_losses(task, features) for task in self.task_heads}
        finally:
            for module, mode in modes.items():
                module.training = mode
            for hook in hooks:
                hook.remove()
        place = {name: i for i, name in enumerate(order)}
        named = dict(sorted(named.items(), key=lambda item: place.get(item[0].rpartition(".")[0], -1)))
        return {task: _reached(named, tensors) for task, tensors in outputs.items()}

    def before_losses(self, task: str, features: dict[str, Tensor]) -> list[Tensor]:
        """Tensors that depend on all shared parameters which the loss of ``task`` depends on."""
        if _looking(getattr(self.task_heads[task], "layers", None)):
            return self.head_outputs(task, features)
        return [features[name] for name in self.task_levels()[task]]

    def _black_image(self) -> Tensor:
        like = next(cast(nn.Module, self).parameters())
        side = max(self.backbone.size_divisibility, 64)
        return like.new_zeros(1, cast(Tensor, cast(Any, self).pixel_mean).numel(), side, side)

    def training_losses(self, samples: list[dict]) -> dict[str, Tensor]:
        """All loss terms of a batch, for any trainer that sums them; a task without samples has zeros with a graph.

        Raises:
            ValueError: no sample of the batch has a label of any task.
        """
        supervised = [self.sample_tasks(sample) for sample in samples]
        if not any(supervised):
            files = ", ".join(str(sample.get("file_name", "?")) for sample in samples)
            raise ValueError(f"no sample of the batch has a label of any of the tasks {self.task_names()}: {files}")
        samples = [{**sample} for sample in samples]  # heads may keep in them what belongs to this pass
        features = self.shared_features(self.batch_images(samples))
        losses: dict[str, Tensor] = {}
        for task in self.tasks:
            labelled = [i for i, names in enumerate(supervised) if task.name in names]
            if labelled:
                chosen = features if len(labelled) == len(samples) else {k: f[labelled] for k, f in features.items()}
                terms = self.task_losses(task.name, chosen, [samples[i] for i in labelled], Reduction())
                losses.update(weighted_terms(task, source_without_samples(task, terms)))
            else:
                attached = torch.stack([p.sum() for p in head_parameters(cast(nn.Module, self), task)]).sum() * 0
                losses.update(dict.fromkeys(task.loss_keys, attached))
        return losses

    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in their order."""
        return tuple(task.name for task in self.tasks)


@cache
def _in_order(names: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that are ``asked`` for; nearly all samples ask for the same."""
    return tuple(name for name in names if name in asked)


def _looking(layers: nn.Module | None) -> list[LooksIntoTrunk]:
    """The parts of a head's layers that use parameters which the trunk holds for all heads."""
    return [] if layers is None else [part for part in layers.modules() if isinstance(part, LooksIntoTrunk)]


def _layers_of(cfg: CfgNode, kind: TaskKind, shapes: Mapping[str, Any]) -> nn.Module | None:
    """The layers of a task; what they say of their options names the node that has them."""
    try:
        return kind.build_layers(task_config(cfg, kind), shapes)
    except ValueError as error:
        raise ConfigError(f"{kind.options} of task {kind.task!r}: {error}") from error


def _reached(parameters: dict[str, nn.Parameter], tensors: list[Tensor]) -> list[str]:
    """Names of the ``parameters`` that one of the ``tensors`` depends on."""
    moving = [t.sum() for t in tensors if t.requires_grad]
    if not moving:
        return []
    gradients = torch.autograd.grad(moving, list(parameters.values()), retain_graph=True, allow_unused=True)
    return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
