"""Files of a model's weights alone, which ``--eval-only`` and MODEL.WEIGHTS take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtl_d2.engine.pickles import read_torch
from mtl_d2.files import replacing


def save_weights(path: Path, model: nn.Module, classes: Mapping[str, Sequence[str]], **about: Any) -> None:
    """Writes a model's weights; not by the checkpointer, which would take the file for the last checkpoint.

    Args:
        path: of the file.
        model: whose parameters and buffers they are.
        classes: the checkpointer's: what the model's ids stand for.
        about: numbers and text that say which weights these are.
    """
    with replacing(path) as file:
        torch.save({"model": model.state_dict(), "classes": dict(classes), **about}, file)


@contextmanager
def weights_of(path: Path | None, model: nn.Module) -> Iterator[None]:
    """Meanwhile the model has the weights of a file, and afterwards its own again, bit for bit; None = its own."""
    own = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
    try:
        if path:
            model.load_state_dict(read_torch(str(path))["model"])
        yield
    finally:
        model.load_state_dict(own)
