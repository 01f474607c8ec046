"""Two losses of two numbers that conflict, and the path that each gradient method takes down them, as one picture.

The problem is that of Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS 2021, as their code
has it, in the manner of Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020. With theta = (x, y),

    L_1 = c(y) log max(|(x + 7) / 2 - tanh y|, 5e-6) + 6 c(y) + c(-y) ((x - 7)^2 + (y + 8)^2 / 10 - 200) / 10
    L_2 = c(y) log max(|(x - 7) / 2 + tanh y|, 5e-6) + 6 c(y) + c(-y) ((x + 7)^2 + (y + 8)^2 / 10 - 200) / 10
    c(y) = max(tanh(y / 2), 0)

Above y = 0 there is a steep and narrow valley for each loss; below, two bowls with minima near (7, -8) and (-7, -8),
and the Pareto set on the curve between them. The starts are the paper's, and Adam is its optimizer, here with five
times its learning rate and 4,000 updates in place of its 100,000. All else is the code that trains networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq
from torch import Tensor, nn

from mtl_d2.balancing import (
    AGGREGATORS,
    ROW_SCALINGS,
    STEPS,
    WEIGHTINGS,
    Balancer,
    GradientStage,
    Oracle,
    Scalarization,
    Setup,
    load_methods,
)
from mtl_d2.balancing.exact.rows import combine, gramian
from mtl_d2.balancing.quadratic import min_norm_point
from mtl_d2.options import defaults
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import Task

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
NAMES = ("first", "second")
SAMPLE = {"tasks": NAMES}  # of the one batch: the losses have no data
# Row scaling, aggregator and the aggregator's options that are not the defaults; c is that of the paper's toy problem.
METHODS: dict[str, tuple[str, str, dict[str, object]]] = {
    "sum": ("", "sum", {}),
    "mgda": ("", "mgda", {}),
    "pcgrad": ("", "pcgrad", {}),
    "cagrad": ("", "cagrad", {"c": 0.5}),
    "mclgs": ("mclgs", "mean", {}),
    "nash_mtl": ("", "nash_mtl", {}),
    "imtl_g": ("", "imtl_g", {}),
    "upgrad": ("", "upgrad", {}),
}
load_methods()


def losses(points: Tensor) -> Tensor:
    """(N, 2) values of L_1 and L_2 at ``points`` ((N, 2), x and y)."""
    x, y = points.unbind(-1)
    upper, lower = torch.tanh(y / 2).clamp(min=0), torch.tanh(-y / 2).clamp(min=0)
    found = []
    for side in (1, -1):
        valley = ((x + 7 * side) / 2 - side * torch.tanh(y)).abs().clamp(min=5e-6).log() + 6
        bowl = ((x - 7 * side) ** 2 + (y + 8) ** 2 / 10) / 10 - 20
        found.append(upper * valley + lower * bowl)
    return torch.stack(found, dim=-1)


class ToyProblem(nn.Module):
    """A network whose shared parameters are theta and whose heads have none.

    Attributes:
        theta: (2,) float64, x and y.
    """

    def __init__(self, start: Sequence[float]) -> None:
        """Args: ``start`` is theta's first value."""
        super().__init__()
        self.tasks = tuple(Task(name, (f"loss_{name}",), ()) for name in NAMES)
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Both tasks, for the one sample there is."""
        return sample["tasks"]

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, 1) zeros: nothing is looked at."""
        return torch.zeros(len(samples), 1)

    def shared_features(self, images: Tensor) -> dict[str, Tensor]:
        """Theta, (N, 2), once for each sample."""
        return {"theta": self.theta.expand(len(images), 2)}

    def task_losses(
        self, task: str, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The task's loss under its name."""
        return {f"loss_{task}": losses(features["theta"])[:, NAMES.index(task)].mean()}

    def mixes_samples(self) -> bool:
        """No."""
        return False

    def synchronizes(self, task: str | None = None) -> bool:
        """No."""
        return False

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Theta."""
        return [self.theta]


def build_balancer(method: str, steps: int) -> Balancer:
    """The update of ``METHODS[method]``, for a training of ``steps`` updates."""
    rescale, name, options = METHODS[method]
    setup = Setup(NAMES, steps)
    scaling = ROW_SCALINGS.get(rescale)(setup, **defaults(ROW_SCALINGS.get(rescale).options)) if rescale else None
    aggregator = AGGREGATORS.get(name)(setup, **{**defaults(AGGREGATORS.get(name).options), **options})
    fixed, joint = WEIGHTINGS.get("fixed"), STEPS.get("joint")
    return Balancer(
        setup,
        Scalarization(fixed(setup, **defaults(fixed.options))),
        GradientStage(scaling, aggregator, "method", len(NAMES)),
        joint(setup, **defaults(joint.options)),
    )


def trace(method: str, start: Sequence[float], steps: int, lr: float = 0.005) -> Tensor:
    """(steps + 1, 2) theta from ``start`` on, under Adam with learning rate ``lr``."""
    model = ToyProblem(start)
    oracle, balancer = Oracle(model), build_balancer(method, steps)
    optimizer = torch.optim.Adam([model.theta], lr=lr)

    def apply() -> None:
        optimizer.step()

    points = [model.theta.detach().clone()]
    for update in range(steps):
        oracle.load([SAMPLE], update)
        balancer(oracle, update, apply)
        points.append(model.theta.detach().clone())
    return torch.stack(points)


def stationarity(point: Sequence[float]) -> float:
    """Norm of the shortest convex combination of both gradients at ``point``; 0 where no step improves both losses."""
    oracle = Oracle(ToyProblem(point))
    oracle.load([SAMPLE])
    rows = oracle.gradients().rows
    (shortest,) = combine(rows, min_norm_point(gramian(rows)).tolist())
    assert shortest is not None
    return float(shortest.norm())


def pareto_set(count: int = 57) -> Tensor:
    """(count, 2) points of the curve between the two bowls where the gradients cancel, from x = -7 to 7."""

    def balance(y: float, x: float) -> float:
        """The y part of the combination whose x part is zero."""
        c = np.tanh(-y / 2)
        bowl = (49 - x**2 + (y + 8) ** 2 / 10) / 10 - 20
        return (c**2 - 1) / 2 * bowl + c * (y + 8) / 50

    xs = np.linspace(-7, 7, count)
    return torch.tensor([(x, brentq(balance, -10, -6, args=(x,))) for x in xs], dtype=torch.float64)


def draw(axes: Axes, title: str, paths: Sequence[Tensor]) -> None:
    """Contours of the mean loss, the Pareto set, and the paths with the mean loss at their ends."""
    grid = torch.linspace(-11, 11, 220, dtype=torch.float64)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    mean = losses(torch.stack([x.flatten(), y.flatten()], dim=-1)).mean(-1).view(x.shape)
    axes.contour(x, y, mean, levels=12, colors="0.75", linewidths=0.6)
    axes.plot(*pareto_set().T, color="0.35", linewidth=4, solid_capstyle="round")
    for color, path in zip(("tab:red", "tab:blue", "tab:green"), paths, strict=True):
        axes.plot(*path.T, color=color, linewidth=1.3)
        axes.plot(*path[0], "o", color=color, markersize=5)
        axes.plot(*path[-1], "*", color=color, markersize=11, markeredgecolor="black", markeredgewidth=0.6)
    ends = losses(torch.stack([path[-1] for path in paths])).mean(-1).tolist()
    axes.set_title(f"{title}\n" + "   ".join(f"{end:.1f}" for end in ends), fontsize=10)
    axes.set(aspect="equal", xlim=(-11, 11), ylim=(-11, 11), xticks=(-10, 0, 10), yticks=(-10, 0, 10))


def main() -> None:
    """Traces every method from every start and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="toy_problem.png", help="the picture to write (toy_problem.png)")
    parser.add_argument("--steps", type=int, default=4000, help="updates of each path (4000)")
    parser.add_argument("--lr", type=float, default=0.005, help="Adam's learning rate (0.005)")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, got {args.steps}")
    matplotlib.use("Agg")
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    for axes, method in zip(figure.subplots(2, 4).flat, METHODS, strict=True):
        draw(axes, method, [trace(method, start, args.steps, args.lr) for start in STARTS])
    figure.savefig(args.output, dpi=75, metadata={"Software": None})


if __name__ == "__main__":
    main()
