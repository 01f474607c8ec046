"""Averages of a model's parameters over the updates, kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from mtl_d2.averages import Averages
from mtl_d2.engine.weights_file import save_weights

FILE = "model_ema.pth"


class AveragedWeights(HookBase):
    """Averages the parameters after every update, and leaves the averages as ``model_ema.pth`` after the training.

    Buffers, such as running statistics, are always the model's. It keeps tensors and no second model, so that nothing
    that is done to a model (recomputed, compiled) is to be done twice. All processes hold the same averages, since they
    hold the same parameters. It comes before CheckpointHook, so that a checkpoint holds them.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        output_dir: str,
        classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
        skipped: Callable[[], int] = int,
    ) -> None:
        """Builds it.

        Args:
            model: that is trained.
            decay: see ``Averages``.
            output_dir: the run's folder.
            classes: the checkpointer's.
            skipped: says how many updates so far did not move the parameters; such a one is not averaged.
        """
        self.averages = Averages(decay)
        self._parameters = dict(model.named_parameters())
        self._model = model
        self._path = Path(output_dir, FILE)
        self._classes = classes
        self._skipped = skipped
        self._before = 0

    def before_train(self) -> None:
        """Begins with what the model begins with, unless a checkpoint had averages."""
        if not self.averages.tensors:
            self.averages.begin(self._parameters)

    def before_step(self) -> None:
        """Counts the skipped updates."""
        self._before = self._skipped()

    def after_step(self) -> None:
        """Takes in an update."""
        if self._skipped() == self._before:
            self.averages.add(self._parameters)

    def after_train(self) -> None:
        """Of a training that came to its end."""
        if self.trainer.iter + 1 >= self.trainer.max_iter and comm.is_main_process():
            with self.in_model():
                save_weights(self._path, self._model, self._classes)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Meanwhile the model's parameters are the averages; afterwards they are its own again, bit for bit."""
        self.averages.exchange(self._parameters)
        try:
            yield
        finally:
            self.averages.exchange(self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return self.averages.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self.averages.load_state_dict(state_dict, self._parameters)
