"""What the logs say of an update, whatever its methods are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from mtl_d2.balancing import UpdateResult
from mtl_d2.balancing.base import Gradients, cosines
from mtl_d2.balancing.gramian import gramian

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
        task; ``cosine/`` of each pair of them, and ``cosine_std/`` over the last 50 updates; ``cosine_level/`` and
        ``cosine_level_std/`` where the weights came from another level; and what the methods say of themselves.
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
        found = self._pairs("cosine_level", result.level_gramian, present)
        found |= self._pairs("cosine", result.gramian, present)
        return values | found | dict(spread for name in found for spread in self._spread(name, found[name]))

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
        return [(spread_name(name), float(spread))]


def spread_name(name: str) -> str:
    """What the standard deviation of a cosine is called: ``cosine_std/a_b`` for ``cosine/a_b``."""
    return name.replace("/", "_std/", 1)


class ConsecutiveUpdates:
    """The cosine between the directions of two consecutive updates, for the first of which it was asked.

    Paper: On steering multi-annotations per sample for multi-task learning, figure 2. The two updates of a mini-batch
    of ISTA are made of the same samples, each with its one task and then with its other.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], asked: Callable[[int], bool]) -> None:
        """Looks at nothing yet.

        Args:
            parameters: the shared ones.
            asked: whether an update is to be compared with the next.
        """
        self.parameters = parameters
        self.asked = asked
        self._first: tuple[int, Gradients] | None = None  # not in checkpoints: a run that goes on leaves one pair out

    def __call__(self, update: int) -> dict[str, float]:
        """``cosine/consecutive_updates``, where defined; to be called when the gradients are about to be applied.

        A step that moves the shared parameters before the heads has none of theirs in its second move.
        """
        first, wanted = self._first, self.asked(update)
        if not wanted and first is None:
            return {}
        gradients = [p.grad for p in self.parameters]
        if all(g is None for g in gradients):
            return {}
        self._first = (update, [None if g is None else g.clone() for g in gradients]) if wanted else None
        if first is None or first[0] != update - 1:
            return {}
        return {"cosine/consecutive_updates": float(cosines(gramian([first[1], gradients]))[0, 1])}
