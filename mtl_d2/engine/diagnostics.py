"""What the logs say of an update, whatever its methods are."""

from __future__ import annotations

from collections import deque
from itertools import combinations

import torch
from torch import Tensor

from mtl_d2.balancing import UpdateResult
from mtl_d2.balancing.base import cosines

WINDOW = 50  # updates over which the spread of a cosine is taken, as in CosReg's figure 3


class Diagnostics:
    """Names the numbers of an update, and keeps the cosines of the last ``WINDOW`` updates."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        """Args: ``tasks`` in the order of all (T,) vectors."""
        self.tasks = tasks
        self._recent: dict[str, deque[float]] = {}

    def state_dict(self) -> dict[str, list[float]]:
        """The kept cosines by name."""
        return {name: list(values) for name, values in self._recent.items()}

    def load_state_dict(self, state_dict: dict[str, list[float]]) -> None:
        """Goes on from them."""
        self._recent = {name: deque(values, maxlen=WINDOW) for name, values in state_dict.items()}

    def __call__(self, result: UpdateResult) -> dict[str, float]:
        """Scalars by name.

        ``task_loss/``, ``coefficient/`` (c_i), ``weight/`` (of the rows, c_i included), ``grad_norm/`` of each present
        task; ``cosine/`` of each pair of them, and ``cosine_std/`` over the last 50 updates; ``cosine_level/`` where
        the weights came from another level; and what the methods say of themselves.
        """
        present = [i for i, here in enumerate(result.present.tolist()) if here]
        values = dict(result.scalars)
        numbers = {"task_loss": result.losses, "coefficient": result.coefficients}
        numbers["weight"] = result.weights.shared * result.coefficients
        if result.gramian is not None:
            numbers["grad_norm"] = result.gramian.diagonal().sqrt()
        for group, vector in numbers.items():
            entries = vector.tolist()
            values |= {f"{group}/{self.tasks[i]}": entries[i] for i in present}
        values |= self._pairs("cosine_level", result.level_gramian, present)
        exact = self._pairs("cosine", result.gramian, present)
        return values | exact | {name: spread for name in exact for name, spread in self._spread(name, exact[name])}

    def _pairs(self, group: str, gramian: Tensor | None, present: list[int]) -> dict[str, float]:
        if gramian is None:
            return {}
        cosine = cosines(gramian).tolist()
        return {f"{group}/{self.tasks[i]}_{self.tasks[j]}": cosine[i][j] for i, j in combinations(present, 2)}

    def _spread(self, name: str, value: float) -> list[tuple[str, float]]:
        recent = self._recent.setdefault(name, deque(maxlen=WINDOW))
        recent.append(value)
        if len(recent) < WINDOW:
            return []
        spread = torch.tensor(list(recent), dtype=torch.float64).std(correction=0)
        return [(name.replace("cosine/", "cosine_std/"), float(spread))]
