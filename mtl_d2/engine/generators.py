"""The global random generators of all processes, which dropout and such draw from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm


def generator_states() -> list[dict[str, Any]]:
    """State of torch's, Python's and numpy's generators, one dict for each process; all processes have to ask.

    Returns:
        on the main process, in the order of ranks; on the others an empty list.
    """
    version, words, gauss = random.getstate()
    _, key, position, has_gauss, cached = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": (version, torch.tensor(words), gauss),
        "numpy": (torch.tensor(np.asarray(key, dtype=np.int64)), position, has_gauss, cached),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return comm.gather(state)


def restore_generators(states: Sequence[dict[str, Any]]) -> None:
    """Puts this process's generators back to what ``generator_states`` gave.

    Args:
        states: one dict for each process, as many as there are now.
    """
    state = states[comm.get_rank()]
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    key, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", key.numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
