"""What a model says about its tasks. Imports torch and nothing of detectron2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn


@dataclass(frozen=True)
class LabelSource:
    """Whose labels a term of a loss is of.

    Attributes:
        prefix: of the keys of records and samples that hold the labels, and of the terms of losses over them.
        weight: >= 0, what those terms count in their task's loss.
    """

    prefix: str = ""
    weight: float = 1.0


GROUND_TRUTH = LabelSource()


@dataclass(frozen=True)
class Task:
    """One task of a multi-task model.

    Attributes:
        name: the task's name in configs, logs and reports, e.g. ``detection``.
        loss_keys: the keys under which the model returns the terms of this task's loss; their sum is L_i, each times
            the weight of its source of labels.
        head_modules: dotted names of the submodules whose parameters belong to this task alone, unless another task
            names them as well. Whatever belongs to no task, or to two, is shared.
        sources: of its labels, the ground truth first.
    """

    name: str
    loss_keys: tuple[str, ...]
    head_modules: tuple[str, ...]
    sources: tuple[LabelSource, ...] = (GROUND_TRUTH,)

    def with_sources(self, sources: Sequence[LabelSource]) -> Task:
        """The task with labels of all ``sources``, and the terms of its loss from each of them."""
        keys = tuple(source.prefix + key for source in sources for key in self.loss_keys)
        return replace(self, loss_keys=keys, sources=tuple(sources))

    def by_source(self, terms: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Terms of its loss, those of each source on their own."""
        if len(self.sources) == 1:
            return [dict(terms)]
        width = len(self.loss_keys) // len(self.sources)
        keys = [self.loss_keys[width * k : width * (k + 1)] for k in range(len(self.sources))]
        return [{key: term for key, term in terms.items() if key in of_source} for of_source in keys]


def head_parameters(model: nn.Module, task: Task) -> list[nn.Parameter]:
    """Parameters of the head modules of ``task`` that require a gradient, in the order of the model."""
    parameters: dict[int, nn.Parameter] = {}
    for name in task.head_modules:
        for p in model.get_submodule(name).parameters():
            if p.requires_grad:
                parameters[id(p)] = p
    return list(parameters.values())


def divide_parameters(model: nn.Module, tasks: Iterable[Task]) -> tuple[list[nn.Parameter], list[list[nn.Parameter]]]:
    """The shared parameters, and those of each task's head alone, of those that require a gradient.

    Shared is what the heads of two tasks have in common, or what belongs to none.
    """
    reached = [{id(p): p for p in head_parameters(model, task)} for task in tasks]
    owners = Counter(key for by_id in reached for key in by_id)
    heads = [[p for key, p in by_id.items() if owners[key] == 1] for by_id in reached]
    return [p for p in model.parameters() if p.requires_grad and owners[id(p)] != 1], heads


def shared_parameters(model: nn.Module, tasks: Iterable[Task]) -> list[nn.Parameter]:
    """The first part of ``divide_parameters``, in the order of the model."""
    return divide_parameters(model, tasks)[0]
