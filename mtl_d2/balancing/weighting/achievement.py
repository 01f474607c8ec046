"""Achievement-based weights: how far each task is from what it reaches alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import FLOOR
from mtl_d2.balancing.weighting.accuracy import (
    OPTIONS,
    POTENTIALS,
    Accuracies,
    Results,
    check_potentials,
    read_potentials,
)
from mtl_d2.options import choice, number

PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "poster": {"gamma": 1.0, "margin": 0.0, "momentum": 1.0, "normalize": "none"},
}


@WEIGHTINGS.named("achievement")
class Achievement(Weighting):
    """Gives more weight to a task the farther its accuracy is from that of its single-task model.

    Paper: Yun and Cho, Achievement-based training progress balancing for multi-task learning, ICCV 2023,
    https://openaccess.thecvf.com/content/ICCV2023/html/Yun_Achievement-Based_Training_Progress_Balancing_for_Multi-Task_Learning_ICCV_2023_paper.html.
        w_i = max(0, 1 - k_i / (1 + margin))^gamma,   k_i = acc_i / p_i smoothed over evaluations
    then w, w / sum(w) or softmax(w). acc_i is the task's validation accuracy, p_i > 0 its potential, the accuracy of
    the single-task model *in the unit of the metric* (percent for detectron2's AP and mIoU). Before the first
    evaluation k_i = 0, so all weights are the same. With the geometric mean S = prod_i L_i^w_i.
    Differs from: the authors' code (whose gamma, margin, momentum and softmax are the defaults) where an accuracy is
    above its potential: there the weight grows again with gamma = 2, here it is 0. The poster has no margin and names
    no smoothing, exponent or normalization: ``PRESET`` 'poster'. Without normalization the geometric mean's exponents
    do not add up to 1, and the gradient vanishes as all tasks reach their potential. With 'sum' no weight is below
    1e-12 before the division, which makes all equal where all are 0. An error metric gives p_i / error_i, our
    extension. A metric that is NaN leaves k_i as it was. A task absent from a batch is left out there: softmax and sum
    are over all T tasks, and the geometric mean divides by the sum over the present ones.
    """

    needs_losses = False
    options = {
        **OPTIONS,
        **POTENTIALS,
        "gamma": number(2.0, "exponent, the paper's gamma", least=0),
        "margin": number(0.05, "share by which each potential is raised", least=0),
        "momentum": number(0.1, "share of a new accuracy in the smoothed one; 1 is no smoothing", above=0, most=1),
        "normalize": choice(
            "softmax", "'sum': weights divided by their sum; 'softmax' of the weights", ("none", "sum", "softmax")
        ),
        "preset": choice(
            "",
            "'poster' sets GAMMA 1, MARGIN 0, MOMENTUM 1 and NORMALIZE 'none'; '' leaves them as they are",
            tuple(PRESETS),
        ),
    }

    def __init__(
        self,
        setup: Setup,
        metrics: Sequence[str],
        direction: Sequence[str],
        potentials: Sequence[float],
        potentials_from: Sequence[str],
        preset: str,
        **settings: Any,
    ) -> None:
        """Args are those of ``options``; ``settings`` are the four that a preset sets.

        Raises:
            ValueError: a potential cannot be read.
        """
        super().__init__(setup)
        settings |= PRESETS[preset]
        self.tasks = setup.tasks
        self.gamma = settings["gamma"]
        self.margin = settings["margin"]
        self.normalize = settings["normalize"]
        self.normalized = self.normalize != "none"
        references = read_potentials(metrics, potentials, potentials_from, setup)
        self.accuracies = Accuracies(metrics, direction, references, settings["momentum"], setup)

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """Metrics, where the potentials come from, and what a preset leaves to be chosen."""
        sets = PRESETS.get(values["preset"], {})
        usual = {key: option.default for key, option in cls.options.items()}
        changed = [key.upper() for key, value in sets.items() if values[key] not in (usual[key], value)]
        preset = f"PRESET {values['preset']!r} sets {', '.join(changed)}; leave out one or the other"
        return [*check_potentials(values, setup), *([preset] if changed else [])]

    @classmethod
    def needs_evaluation(cls, values: Mapping[str, Any]) -> bool:
        """Always."""
        return True

    def forward(self, context: Context) -> Tensor:
        """(T,) weights >= 0."""
        weights = (1 - self.accuracies.ratios / (1 + self.margin)).clamp(min=0) ** self.gamma
        if self.normalize == "softmax":
            return weights.softmax(0)
        if self.normalize == "sum":
            weights = weights.clamp(min=FLOOR)
            return weights / weights.sum()
        return weights

    def on_evaluation(self, results: Results) -> None:
        """Takes the accuracies.

        Raises:
            ValueError: a metric is not in ``results``.
        """
        self.accuracies.read(results)

    def scalars(self) -> dict[str, float]:
        """k_i, from the first evaluation on."""
        return self.accuracies.named(self.tasks, "achievement")
