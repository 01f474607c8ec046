"""The Gramian of the task gradients of every layer, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.analysis.restored import Restored
from mtl_d2.balancing.exact.oracle import Oracle
from mtl_d2.balancing.exact.rows import TaskGradients, gramian
from mtl_d2.balancing.interfaces import MultiTaskModel


@dataclass(frozen=True)
class Layer:
    """A module that owns shared parameters.

    Attributes:
        name: dotted, in the model.
        parameters: numbers in them.
        places: of them among the shared parameters of the model.
    """

    name: str
    parameters: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """What was measured, B batches of L layers and T tasks.

    Attributes:
        tasks: their names.
        layers: in the order in which they were run.
        gramians: (B, L, T, T) float64 inner products of the gradients that the tasks' losses have in a layer.
        present: (B, T) bool, the tasks that supervised a sample of a batch.
        empty: batches besides that no task supervised a sample of.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    gramians: Tensor
    present: Tensor
    empty: int = 0


def measure(
    model: MultiTaskModel,
    batches: Iterable[list[dict]],
    accumulate: int = 1,
    seed: int = 0,
    told: Callable[[int], None] = lambda number: None,
) -> Measurement:
    """Takes the exact task gradients of each batch, and keeps T x T numbers of each layer.

    The model is in training mode meanwhile and is put back afterwards; each batch finds it in the same state.

    Args:
        model: also an ``nn.Module``, of two tasks or more.
        batches: lists of its samples, one update's each.
        accumulate: K >= 1, micro-batches that a batch crosses the network in.
        seed: of what the model draws, such as dropout and the regions that a head is trained on.
        told: is called after each batch with its number, from 1 on.

    Raises:
        AnalysisError: the model has one task, or its tasks share no parameter; no batch has a label; or a loss or
            gradient is not finite.
    """
    assert isinstance(model, nn.Module)
    names = tuple(task.name for task in model.tasks)
    if len(names) < 2:
        raise AnalysisError(f"the model has one task, {', '.join(names)}: there are no two gradients to compare")
    oracle = Oracle(model, accumulate=accumulate)
    layers = _layers(model, oracle)
    if not layers:
        raise AnalysisError(f"the tasks {', '.join(names)} share no parameter that is trained: nothing to compare")
    measured: list[tuple[Tensor, Tensor]] = []
    order: list[str] = []
    number, state = 0, Restored(model, seed)
    with state.training(), EventStorage():
        for number, samples in enumerate(batches, 1):
            state.begin(number)
            oracle.load(samples)
            if oracle.batch.present.any():
                measured.append(_of_batch(model, oracle, layers, order))
            told(number)
    if not measured:
        raise AnalysisError(
            f"none of {number} batches has a label of any of the tasks {', '.join(names)}: look at the data sets"
            if number
            else "no batch was given: there is nothing to analyze"
        )
    sequence = _sequence(layers, order)
    gramians, present = (torch.stack(tensors) for tensors in zip(*measured, strict=True))
    ordered = tuple(layers[k] for k in sequence)
    return Measurement(names, ordered, gramians[:, sequence], present, number - len(measured))


def _of_batch(model: nn.Module, oracle: Oracle, layers: list[Layer], order: list[str]) -> tuple[Tensor, Tensor]:
    """(L, T, T) Gramians of the batch that is loaded, and (T,) which tasks are present in it."""
    with _noted(model, layers, order):
        gradients = oracle.row_gradients()
    return _finite(_layer_gramians(gradients, layers), gradients, oracle), gradients.present


def _layers(model: nn.Module, oracle: Oracle) -> list[Layer]:
    places = {id(parameter): k for k, parameter in enumerate(oracle.shared)}
    layers = []
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) in places]
        if own:
            layers.append(Layer(name, sum(p.numel() for p in own), tuple(places.pop(id(p)) for p in own)))
    return layers


@contextmanager
def _noted(model: nn.Module, layers: list[Layer], order: list[str]) -> Iterator[None]:
    """Fills ``order``, if it is empty, with the names of layers in the order in which they are first run."""
    hooks = []
    if not order:
        called: dict[str, None] = {}
        for layer in layers:
            module = model.get_submodule(layer.name)
            hooks.append(module.register_forward_pre_hook(lambda *_, name=layer.name: called.setdefault(name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        order += list(called) if hooks else []


def _sequence(layers: list[Layer], order: list[str]) -> list[int]:
    """Places of the layers in the order in which they are run; one that is never called follows the one before it."""
    when = {name: place for place, name in enumerate(order)}
    last, keys = -1, []
    for place, layer in enumerate(layers):
        last = when.get(layer.name, last)
        keys.append((last, place))
    return [place for _, place in sorted(keys)]


def _layer_gramians(gradients: TaskGradients, layers: list[Layer]) -> Tensor:
    """(L, T, T) float64 on the CPU, in one transfer; the rows are freed."""
    rows, gradients.rows = gradients.rows, []
    return torch.stack([gramian([[row[k] for k in layer.places] for row in rows]) for layer in layers]).cpu()


def _finite(gramians: Tensor, gradients: TaskGradients, oracle: Oracle) -> Tensor:
    """The Gramians, if these and the losses are finite."""
    what = ""
    try:
        oracle.read(gradients)
        broken = (~gramians.sum(0).diagonal().isfinite()).nonzero().flatten().tolist()
        if broken:
            what = f"the gradient is not finite for task {', '.join(oracle.names[i] for i in broken)}"
    except FloatingPointError as error:
        what = str(error).partition(": ")[2].partition(". ")[0]
    if what:
        files = ", ".join(str(sample.get("file_name", "?")) for sample in oracle.batch.samples)
        raise AnalysisError(
            f"{what}: the weights are those of a training that went astray, or the labels are; images: {files}"
        )
    return gramians
