"""Achievement-based weights: how far each task is from what it reaches alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mtl_d2.balancing.base import Context, Setup
from mtl_d2.balancing.build import WEIGHTINGS
from mtl_d2.balancing.strategies import Weighting
from mtl_d2.balancing.weighting.accuracy import HELP, Accuracies, Results, check_metrics, read_reference
from mtl_d2.balancing.weighting.options import FLOOR, check_choice, check_length, check_number

PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "poster": {"gamma": 1.0, "margin": 0.0, "momentum": 1.0, "normalize": "none"},
}


@WEIGHTINGS.named("achievement")
class Achievement(Weighting):
    """Gives more weight to a task the farther its accuracy is from that of its single-task model.

    Paper: Yun and Cho, Achievement-based training progress balancing for multi-task learning, ICCV 2023.
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
    defaults = {
        "metrics": (),
        "direction": (),
        "potentials": (),
        "potentials_from": (),
        "gamma": 2.0,
        "margin": 0.05,
        "momentum": 0.1,
        "normalize": "softmax",
        "preset": "",
    }
    help = {
        **HELP,
        "potentials": "p_i > 0 for each task, in the unit of its metric; empty: read from POTENTIALS_FROM",
        "potentials_from": "folder or results.json of each task's single-task run, whose own row has the metric",
        "gamma": "exponent >= 0, the paper's gamma",
        "margin": "share by which each potential is raised, >= 0",
        "momentum": "share of a new accuracy in the smoothed one, in (0, 1]; 1 is no smoothing",
        "normalize": "'none', 'sum' (weights divided by their sum) or 'softmax' (of the weights)",
        "preset": "'poster' sets GAMMA 1, MARGIN 0, MOMENTUM 1 and NORMALIZE 'none'; '' leaves them as they are",
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
        """Args are those of ``help``; ``settings`` are the four that a preset sets.

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
        read = [read_reference(path, metric) for path, metric in zip(potentials_from, metrics, strict=False)]
        T = setup.num_tasks
        self.accuracies = Accuracies(metrics, direction, potentials or read or [1.0] * T, settings["momentum"], T)

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Metrics, potentials and where they come from, ranges, and what a preset leaves to be chosen."""
        found = [
            *check_metrics(options, setup),
            *_check_potentials(options, setup),
            *check_number(options, "gamma", least=0),
            *check_number(options, "margin", least=0),
            *check_number(options, "momentum", above=0, most=1),
            *check_choice(options, "normalize", ("none", "sum", "softmax")),
            *check_choice(options, "preset", tuple(PRESETS)),
        ]
        sets = PRESETS.get(str(options["preset"]), {})
        changed = [key.upper() for key, value in sets.items() if options[key] not in (cls.defaults[key], value)]
        if changed:
            found.append(f"PRESET {options['preset']!r} sets {', '.join(changed)}; leave out one or the other")
        return found

    @classmethod
    def needs_evaluation(cls, options: Mapping[str, object]) -> bool:
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


def _check_potentials(options: Mapping[str, object], setup: Setup) -> list[str]:
    potentials, paths, metrics = options["potentials"], options["potentials_from"], options["metrics"]
    assert isinstance(potentials, Sequence)
    assert isinstance(paths, Sequence)
    assert isinstance(metrics, Sequence)
    if bool(potentials) == bool(paths):
        return [f"give exactly one of POTENTIALS and POTENTIALS_FROM, got {tuple(potentials)} and {tuple(paths)}"]
    found = check_length(options, "potentials", setup, "the single-task accuracy")
    found += check_length(options, "potentials_from", setup, "the results.json of its single-task run")
    found += [line for value in potentials for line in check_number({"potentials": value}, "potentials", above=0)]
    for path, metric in zip(paths, metrics, strict=False):
        try:
            read_reference(path, metric)
        except ValueError as error:
            found.append(f"POTENTIALS_FROM: {error}")
    return found
