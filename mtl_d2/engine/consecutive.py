"""The angle between the directions of consecutive updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from mtl_d2.balancing.exact.rows import cosines, gramian
from mtl_d2.parallel.reduction import Gradients


class ConsecutiveUpdates:
    """The cosine between the directions of two consecutive updates, for the first of which it was asked.

    Paper: Li, Guo, Li, Zhang and Zuo, On steering multi-annotations per sample for multi-task learning, 2022,
    https://arxiv.org/abs/2203.02946, figure 2. The two updates of a mini-batch of ISTA are made of the same samples,
    each with its one task and then with its other.
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
