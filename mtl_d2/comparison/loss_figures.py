"""What share of the loss each task has, as the papers draw it."""

from __future__ import annotations

import numpy as np

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.curves import mean_curve
from mtl_d2.comparison.paper_figure import (
    PaperFigure,
    legend_of_methods,
    look,
    of_several_tasks,
    panels,
    style,
    tasks_of,
)
from mtl_d2.report.run import Run
from mtl_d2.report.series import Series, running_average

BEFORE, AFTER = "share_before/", "share_after/"


def loss_shares(collected: Collected) -> PaperFigure:
    """Each task's share of the sum of all losses, unweighted, over the training."""
    rows = of_several_tasks(collected)
    shares = {row.entry.name: [shares_of(record.run) for record in row.finished] for row in rows}
    drawn = [row for row in rows if any(shares[row.entry.name])]
    lacks = [f"{row.entry.name} has no logged update with all of its tasks" for row in rows if row not in drawn]
    caption = (
        "Share of each task's loss, unweighted, in the sum of all of an update's. Running means; with several seeds "
        "their mean. Dotted: equal shares. As in Lee and Son, single gradient step update, figure 3."
    )
    tasks = list(dict.fromkeys(task for row in drawn for task in tasks_of(row)))
    if not drawn:
        return PaperFigure("loss_shares", "Shares of the loss", caption, None, tuple(lacks))
    with style():
        figure, axes = panels(len(tasks))
        for task, (panel,) in zip(tasks, axes, strict=True):
            for row in drawn:
                runs = [series[task] for series in shares[row.entry.name] if task in series]
                if runs:
                    mean, _ = mean_curve(runs, smooth=True)
                    panel.plot(mean.updates, mean.values, **look(collected, row))
            panel.axhline(1 / len(tasks), color="0.4", linewidth=0.8, linestyle=":")
            panel.set(title=task, xlabel="update", ylabel="share of the loss", ylim=(0, 1))
        legend_of_methods(figure, collected, drawn)
    return PaperFigure("loss_shares", "Shares of the loss", caption, figure, tuple(lacks))


def shares_of(run: Run) -> dict[str, Series]:
    """Share of each task in the sum of the task losses, in the updates that logged all of them; {} if none did."""
    prefix = "task_loss/"
    losses = {name.removeprefix(prefix): series for name, series in run.series.items() if name.startswith(prefix)}
    if len(losses) < 2:
        return {}
    shared = [series.updates for series in losses.values()]
    updates = shared[0][np.all([np.isin(shared[0], other) for other in shared], axis=0)]
    values = {task: series.values[np.isin(series.updates, updates)] for task, series in losses.items()}
    whole = np.sum(list(values.values()), axis=0)
    kept = whole > 0
    if not kept.any():
        return {}
    return {task: Series(task, updates[kept], value[kept] / whole[kept]) for task, value in values.items()}


def inner_step_shares(collected: Collected) -> list[PaperFigure]:
    """Single gradient step, figure 3: before and after the inner step, of the first run of each method that has one."""
    rows = of_several_tasks(collected)
    stepping = [row for row in rows if any(name.startswith(BEFORE) for name in row.finished[0].run.series)]
    title = "Shares of the loss before and after the inner step"
    if not stepping:
        line = "no method takes an inner step: one with MTL.STEP.NAME lookahead does"
        return [PaperFigure("inner_step_shares", title, "", None, (line,))]
    return [_inner_step(row, f"{title}: {row.entry.name}") for row in stepping]


def _inner_step(row: Row, title: str) -> PaperFigure:
    run = row.finished[0].run
    tasks = [task for task in tasks_of(row) if f"{BEFORE}{task}" in run.series]
    caption = (
        "Share of each task in the total loss before and after its own step. Thin: logged values, thick: running "
        f"means; the legend says how far off equal shares they are, in the mean. Seed {row.finished[0].seed}. "
        "Lee and Son, single gradient step update, figure 3."
    )
    with style():
        figure, axes = panels(len(tasks))
        for task, (panel,) in zip(tasks, axes, strict=True):
            for prefix, when, color in ((BEFORE, "before", "black"), (AFTER, "after", "tab:red")):
                series = run.series[f"{prefix}{task}"]
                distance = float(np.abs(series.values - 1 / len(tasks)).mean())
                panel.plot(series.updates, series.values, color=color, alpha=0.3, linewidth=0.7)
                label = f"{when}: {distance:.3f} off"
                panel.plot(series.updates, running_average(series.values)[0], color=color, label=label)
            panel.axhline(1 / len(tasks), color="0.4", linewidth=0.8, linestyle=":")
            panel.set(title=task, xlabel="update", ylabel="share of the loss", ylim=(0, 1))
            panel.legend(fontsize=7, frameon=False)
    return PaperFigure(f"inner_step_shares_{row.entry.slug}", title, caption, figure)
