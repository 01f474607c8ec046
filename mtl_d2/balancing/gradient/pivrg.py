"""PIVRG: FairGrad's equation, in which a task counts for more the more it has lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_d2.balancing.bargaining import OPTIONS as BOUNDS
from mtl_d2.balancing.bargaining import Bargain, bargain
from mtl_d2.balancing.interfaces import Context, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.balancing.weighting.accuracy import (
    OPTIONS,
    POTENTIALS,
    Accuracies,
    Results,
    check_potentials,
    read_potentials,
)
from mtl_d2.options import number

ALPHA = 2.0  # of FairGrad


@AGGREGATORS.named("pivrg")
class PIVRG(Bargain):
    """FairGrad with alpha = 2, and a share for each task that grows with its loss against its single-task model.

    Source: class PIVRG of Qin, Wang and Yan's code (the authors of Towards Consistent Multi-Task Learning, CVPR 2025),
    https://github.com/jianke0604/MTLlib, methods/weight_methods.py.
        G w = (p / w)^(1/2)  (elementwise, w > 0);  p = K softmax(drop / t);  update = sum_i w_i g_i, cut to max_norm
        t = max((max drop - min drop) / ln(bound), temperature),   drop_i = 100 (1 - accuracy_i / potential_i)
    over the K tasks that are present: no task's share is more than ``bound`` times another's. Before the first
    evaluation all shares are 1, which is FairGrad. Scale "sum".
    Differs from: that code, where the drop is the mean over all metrics of a task; here a task has one. An error metric
    gives the accuracy potential / error. What else differs is as in ``fairgrad``.
    """

    options = {
        **OPTIONS,
        **POTENTIALS,
        "bound": number(2.0, "the largest ratio of two shares", above=1),
        "temperature": number(10.0, "least t, in percent of the single-task value", above=0),
        **BOUNDS,
    }

    def __init__(
        self,
        setup: Setup,
        metrics: Sequence[str],
        direction: Sequence[str],
        potentials: Sequence[float],
        potentials_from: Sequence[str],
        bound: float,
        temperature: float,
        **bounds: Any,
    ) -> None:
        """Args are those of ``options``.

        Raises:
            ValueError: a potential cannot be read.
        """
        super().__init__(setup, **bounds)
        self.tasks = setup.tasks
        self.bound = bound
        self.temperature = temperature
        references = read_potentials(metrics, potentials, potentials_from, setup)
        self.accuracies = Accuracies(metrics, direction, references, 1.0, setup)

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """Metrics, and where the potentials come from."""
        return check_potentials(values, setup)

    @classmethod
    def needs_evaluation(cls, values: Mapping[str, Any]) -> bool:
        """Always."""
        return True

    def solve(self, gramian: np.ndarray, context: Context) -> np.ndarray:
        """(K,) weights > 0."""
        share = self.shares()[list(context.indices)]
        return bargain(gramian, ALPHA, share / share.mean())

    def shares(self) -> np.ndarray:
        """(T,) p_i > 0, up to a factor; tasks without an accuracy have lost nothing."""
        drops = (100 * (1 - self.accuracies.ratios) * self.accuracies.seen).numpy()
        temperature = max(np.ptp(drops) / math.log(self.bound), self.temperature)
        return np.exp((drops - drops.max()) / temperature)

    def on_evaluation(self, results: Results) -> None:
        """Takes the accuracies.

        Raises:
            ValueError: a metric is not in ``results``.
        """
        self.accuracies.read(results)

    def scalars(self) -> dict[str, float]:
        """accuracy_i / potential_i, from the first evaluation on."""
        return self.accuracies.named(self.tasks, "of_potential")
