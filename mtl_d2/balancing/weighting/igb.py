"""IGB: tasks whose loss is still near where it began count for more."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.weighting.first_losses import WindowMeans, warn_if_idle
from mtl_d2.options import number, whole


@WEIGHTINGS.named("igb")
class IGB(Weighting):
    """Gives more weight to a task the larger its improvable gap, the share of its first loss that is left.

    Paper: Dai, Fei and Lu, Improvable Gap Balancing for Multi-Task Learning, UAI 2023, https://arxiv.org/abs/2307.15429,
    IGBv1.
        w_i = K softmax_i(L_i / b_i / temperature),   b_i = mean loss of task i in the first epoch
    over the K tasks that are present; 1 until b_i is known. The paper has it on the logarithms of the losses:
    MTL.SCALARIZATION.MEAN "log".
    Differs from: the paper by an epoch of ``PERIOD`` updates, and a temperature, which is 1 there. A task that they all
    lack has its first loss thereafter as b_i. IGBv2, which learns the weights by reinforcement, is left out.
    """

    options = {
        "period": whole(400, "updates whose mean losses are the b_i; the paper's is an epoch", scales=updates),
        "temperature": number(1.0, "the larger, the more equal the weights", above=0),
    }

    def __init__(self, setup: Setup, period: int, temperature: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.temperature = temperature
        self.window = WindowMeans(setup.num_tasks, 0, period)
        warn_if_idle(setup, period, "MTL.SCALARIZATION.IGB.PERIOD")
        self._gaps: dict[str, float] = {}

    def forward(self, context: Context) -> Tensor:
        """(T,) weights >= 0 that add up to K over the present tasks."""
        compared = context.present & self.window.known(context.update)
        weights = torch.ones_like(context.losses)
        gaps = context.losses / self.window.means()
        if compared.any():
            weights[compared] = (gaps[compared] / self.temperature).softmax(0) * int(compared.sum())
        self._gaps = {t: float(g) for t, g, c in zip(self.tasks, gaps, compared, strict=True) if c}
        return weights

    def observe(self, result: UpdateResult) -> None:
        """Takes the losses of the period."""
        self.window.observe(result)

    def scalars(self) -> dict[str, float]:
        """L_i / b_i, from the second period on."""
        return {f"gap_{task}": gap for task, gap in self._gaps.items()}
