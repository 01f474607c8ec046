"""Figures of two papers from the runs of a comparison, as one picture each.

    python docs/examples/mnist_figures.py cosreg output/comparisons/multi_digit_mnist --output cosreg.png
    python docs/examples/mnist_figures.py shares output/comparisons/multi_mnist/lookahead --output shares.png
    python docs/examples/mnist_figures.py accuracy output/comparisons/multi_mnist_20_epochs --output accuracy.png

``cosreg``: figures 2, 5 and 3 of "Regularizing deep multi-task networks using orthogonal gradients". The distribution
of the cosine between the tasks' gradients in the training, its standard deviation over the last 50 updates, and the
validation accuracy by the standard deviation in the first epoch. The folder is a comparison's, runs are METHOD/SEED.
``shares``: figure 3 of "Multitask learning with single gradient step update for task balancing". The share of the first
task in the total loss before and after the inner step. The folder is a method's, runs are SEED.
``accuracy``: accuracies of the test set over the updates, means over the seeds and their standard errors, and by how
much each has risen in the last quarter of the training. The folder is a comparison's, runs are METHOD/SEED.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtl_d2.comparison.curves import mean_curve
from mtl_d2.engine.loop import spread_name
from mtl_d2.report.run import Run, read_run
from mtl_d2.report.series import running_average

COSINE = "cosine_level/class_left_class_right"  # at the last shared layer
EPOCH = 250  # updates
SHOWN = ("none", "dropout", "batch_norm", "cosreg", "cosreg_+_batch_norm")  # the paper's models
VALIDATION = "accuracy@multi_digit_mnist_val"
OF_ALL_TASKS = "accuracy/harmonic_mean"


def read_methods(folder: Path) -> dict[str, list[Run]]:
    """The runs of each method that have logged cosines and were evaluated, the paper's models first."""
    methods: dict[str, list[Run]] = {}
    for path in sorted(folder.glob("*/*/metrics.json")):
        run = read_run(path.parent)
        if COSINE in run.series and run.results:
            methods.setdefault(path.parent.parent.name, []).append(run)
    order = [*(name for name in SHOWN if name in methods), *(name for name in methods if name not in SHOWN)]
    return {name: methods[name] for name in order}


def first_epoch(run: Run) -> tuple[float, float]:
    """Standard deviation of the cosine in the first epoch, and the harmonic mean of the last validation accuracies."""
    series = run.series[COSINE]
    accuracy = run.own_results[VALIDATION]["harmonic_mean"]
    return float(series.values[series.updates < EPOCH].std()), float("nan" if accuracy is None else accuracy)


def draw_cosreg(folder: Path) -> Figure:
    """Figures 2, 5 and 3 of CosReg."""
    methods = read_methods(folder)
    figure = Figure(figsize=(13, 4), layout="constrained")
    distribution, spread, scatter = figure.subplots(1, 3)
    for name in [name for name in SHOWN if name in methods]:
        label = name.replace("_", " ")
        values = np.concatenate([run.series[COSINE].values for run in methods[name]])
        distribution.hist(values, bins=80, range=(-1, 1), density=True, histtype="step", label=label)
        moving = methods[name][0].series[spread_name(COSINE)]
        spread.plot(moving.updates, moving.values, linewidth=1, label=label)
    for k, (name, runs) in enumerate(methods.items()):
        x, y = zip(*map(first_epoch, runs), strict=True)
        scatter.plot(x, y, "o^sDvP*X"[k % 8], color=f"C{k % 10}", label=name.replace("_", " "), markersize=5)
    distribution.set(xlabel="cosine at the last shared layer, all seeds", ylabel="density", xlim=(-1, 1))
    spread.set(xlabel="update of the first seed", ylabel="standard deviation of the cosine, 50 updates", ylim=(0, None))
    scatter.set(xlabel="standard deviation of the cosine, first epoch", ylabel="validation accuracy (%)")
    for axes in (distribution, spread, scatter):
        axes.legend(fontsize=7)
    return figure


def draw_shares(folder: Path) -> Figure:
    """Figure 3 of the single gradient step paper, a panel for each seed."""
    runs = [
        run
        for path in sorted(folder.glob("*/metrics.json"))
        if "share_after/class_left" in (run := read_run(path.parent)).series
    ]
    figure = Figure(figsize=(4.3 * max(len(runs), 1), 3), layout="constrained")
    for axes, run in zip(figure.subplots(1, max(len(runs), 1), squeeze=False).flat, runs, strict=False):
        for when, color in (("before", "black"), ("after", "tab:red")):
            series = run.series[f"share_{when}/class_left"]
            distance = float(np.abs(series.values - 0.5).mean())
            axes.plot(series.updates, series.values, color=color, alpha=0.35, linewidth=0.8)
            label = f"{when} the inner step: {distance:.4f} from 0.5"
            axes.plot(series.updates, running_average(series.values)[0], color=color, label=label)
        axes.axhline(0.5, color="0.6", linewidth=0.8)
        axes.set(xlabel=f"update, seed {run.folder.name}", ylabel="share of the left task")
        axes.legend(fontsize=7)
    return figure


def draw_accuracy(folder: Path) -> Figure:
    """Accuracies over the updates, a panel for each task and one for the harmonic mean of all, if a method has all."""
    methods: dict[str, list[Run]] = {}
    for path in sorted(folder.glob("*/*/metrics.json")):
        methods.setdefault(path.parent.parent.name, []).append(read_run(path.parent))
    metrics = sorted(
        {name for runs in methods.values() for run in runs for name in run.series if name.startswith("accuracy/")}
    )
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, max(len(metrics), 1), squeeze=False).flat, metrics, strict=False):
        for name, runs in methods.items():
            needed = set(metrics) if metric == OF_ALL_TASKS else {metric}
            logged = [run.series[metric] for run in runs if needed <= set(run.series)]
            if not logged:
                continue
            curve, errors = mean_curve(logged, smooth=False)
            rise = float(curve.values[-1] - np.interp(0.75 * curve.updates[-1], curve.updates, curve.values))
            label = f"{name.replace('_', ' ')}: {curve.last:.1f}, {rise:+.1f} in the last quarter"
            (line,) = axes.plot(curve.updates, curve.values, label=label)
            if errors is not None:
                axes.fill_between(
                    curve.updates, curve.values - errors, curve.values + errors, color=line.get_color(), alpha=0.2
                )
        best = max(line.get_ydata().max() for line in axes.lines)
        axes.set(
            xlabel="update",
            ylabel=metric.removeprefix("accuracy/").replace("_", " ") + " (%)",
            ylim=(best - 20, best + 1),
        )
        axes.legend(fontsize=7)
    return figure


DRAWINGS = {"cosreg": draw_cosreg, "shares": draw_shares, "accuracy": draw_accuracy}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the runs and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=list(DRAWINGS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", default="figure.png", help="the picture to write (figure.png)")
    args = parser.parse_args(arguments)
    matplotlib.use("Agg")
    figure = DRAWINGS[args.figure](args.folder)
    if not any(axes.lines or axes.patches for axes in figure.axes):
        sys.exit(
            f"error: {args.folder} has no run that logged what figure {args.figure!r} shows; see --help for its layout"
        )
    figure.savefig(args.output, dpi=75, metadata={"Software": None})


if __name__ == "__main__":
    main()
