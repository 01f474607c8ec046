"""Angles and cosines between gradients as the papers draw them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from matplotlib.axes import Axes

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.paper_figure import (
    PaperFigure,
    legend_of_methods,
    look,
    of_several_tasks,
    panels,
    style,
    tasks_of,
)
from mtl_d2.report.palette_of_curves import COLORS
from mtl_d2.report.run import Run
from mtl_d2.report.series import Floats, Series, running_average, thinned

COSINE, LEVEL = "cosine/", "cosine_level/"
CONSECUTIVE = f"{COSINE}consecutive_updates"
PACING = "pacing"  # p(t) of MCLGS
POINTS, FEW = 2000, 200  # most that are drawn of a series; fewer than these are drawn darker
LOGS_COSINES = "MTL.GRADIENT.EXACT_EVERY 20 (or fewer updates) logs them"


def angles_between_tasks(collected: Collected) -> PaperFigure:
    """STA's figure 1: the angles between the tasks' gradients, full allocation beside others."""
    rows = of_several_tasks(collected)
    tasks = tuple(dict.fromkeys(task for row in rows for task in tasks_of(row)))
    logged = {name for row in rows for name in _logged(row, COSINE) if name != CONSECUTIVE}
    names = sorted(logged, key=lambda name: _place(name, tasks))
    return _histograms(
        collected,
        rows,
        names,
        PaperFigure(
            "angles_between_tasks",
            "Angles between the gradients of two tasks",
            "Percent of the logged updates of all finished runs, by the angle between the gradients of all shared "
            "parameters; right of 90° they are in conflict. Li et al., STA, figure 1.",
            None,
        ),
        f"logs no cosine between its tasks' gradients: {LOGS_COSINES}",
    )


def angles_of_consecutive_updates(collected: Collected) -> PaperFigure:
    """STA's figure 2: the angles between the directions of two consecutive updates."""
    rows = of_several_tasks(collected)
    return _histograms(
        collected,
        rows,
        [name for name in (CONSECUTIVE,) if any(name in _logged(row, COSINE) for row in rows)],
        PaperFigure(
            "angles_of_consecutive_updates",
            "Angles between consecutive updates",
            "Percent of the logged pairs of updates of all finished runs, by the angle between their directions in "
            "the shared parameters. With ISTA two such updates may be of the same images. Li et al., STA, figure 2.",
            None,
        ),
        f"logs no cosine of consecutive updates: {LOGS_COSINES}",
    )


def cosines_and_weights(collected: Collected) -> list[PaperFigure]:
    """MCLGS's supplement, figures 1 and 2: one of each method that weighs pairs by cosines, of its first run."""
    title = "Cosine and weight over training"
    rows = of_several_tasks(collected)
    paced = [row for row in rows if PACING in row.finished[0].run.series]
    if not paced:
        line = "no method weighs pairs of tasks by their cosine: one with MTL.GRADIENT.RESCALE mclgs does"
        return [PaperFigure("cosine_and_weight", title, "", None, (line,))]
    return [_cosine_and_weight(row, f"{title}: {row.entry.name}") for row in paced]


def pair_weights(run: Run, name: str) -> Series:
    """W = tanh(cos · p(t)) + 1 of a pair of tasks (MCLGS, eq. 5 and 6), in the updates that logged both."""
    cosine, pacing = run.series[name], run.series[PACING]
    updates, first, second = np.intersect1d(cosine.updates, pacing.updates, return_indices=True)
    return Series(f"weight of {name}", updates, np.tanh(cosine.values[first] * pacing.values[second]) + 1)


def _cosine_and_weight(row: Row, title: str) -> PaperFigure:
    run = row.finished[0].run
    level = LEVEL if _names(run, LEVEL) else COSINE  # what the weights were made of
    logged = [name for name in _names(run, level) if name != CONSECUTIVE]
    names = sorted(logged, key=lambda name: _place(name, tasks_of(row)))
    caption = (
        "Above: the cosine between the gradients of two tasks. Below: w = tanh(p(t) cos) + 1, what the pair is "
        "weighted by. Points are logged values, lines their running mean. "
        f"Seed {row.finished[0].seed}. Igarashi et al., MCLGS, supplement, figures 1 and 2."
    )
    name = f"cosine_and_weight_{row.entry.slug}"
    if not names:
        return PaperFigure(name, title, caption, None, (f"{row.entry.name} logs no cosine: {LOGS_COSINES}",))
    with style():
        figure, axes = panels(len(names), lines=2)
        for pair, (above, below) in zip(names, axes, strict=True):
            _points_and_mean(above, run.series[pair], COLORS[0])
            _points_and_mean(below, pair_weights(run, pair), COLORS[1])
            above.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
            below.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
            above.set(title=pair_title(pair, tasks_of(row)), ylim=(-1.05, 1.05), ylabel="cosine")
            below.set(ylim=(-0.05, 2.05), ylabel="weight w", xlabel="update")
    return PaperFigure(name, title, caption, figure)


def _points_and_mean(axes: Axes, series: Series, color: str) -> None:
    if not len(series.values):
        return
    alpha = 0.6 if len(series.values) < FEW else 0.3
    axes.plot(*thinned(series.updates, series.values, POINTS), ".", color=color, alpha=alpha, markersize=3)
    axes.plot(series.updates, running_average(series.values)[0], color=color)


def _histograms(
    collected: Collected, rows: Sequence[Row], names: Sequence[str], empty: PaperFigure, lack: str
) -> PaperFigure:
    """A panel for each cosine, an outline for each method; ``empty`` with them and with what methods lack."""
    drawn = [row for row in rows if set(names) & set(_logged(row, COSINE))]
    lacks = tuple(f"{row.entry.name} {lack}" for row in rows if row not in drawn)
    if not drawn:
        return PaperFigure(empty.name, empty.title, empty.caption, None, lacks)
    angles = {(row.entry.name, name): _angles(row, name) for row in drawn for name in names}
    edges = _edges(list(angles.values()))
    with style():
        figure, axes = panels(len(names))
        for name, (panel,) in zip(names, axes, strict=True):
            for row in drawn:
                values = angles[row.entry.name, name]
                if len(values):
                    shares = np.histogram(values, edges)[0] * 100 / len(values)
                    panel.stairs(shares, edges, linewidth=1.6, **look(collected, row))
            panel.axvline(90, color="0.4", linewidth=0.8, linestyle=":")
            title = "consecutive updates" if name == CONSECUTIVE else pair_title(name, tasks_of(drawn[0]))
            panel.set(title=title, xlabel="angle (degrees)", ylabel="updates (%)", ylim=(0, None))
        legend_of_methods(figure, collected, drawn)
    return PaperFigure(empty.name, empty.title, empty.caption, figure, lacks)


def pair_title(name: str, tasks: Sequence[str]) -> str:
    """``cosine/a_b`` in words, `a, b`; names of tasks may have a "_" themselves."""
    pair = name.partition("/")[2]
    return next((f"{a}, {b}" for a, b in permutations(tasks, 2) if f"{a}_{b}" == pair), pair)


def _place(name: str, tasks: Sequence[str]) -> tuple[int, str]:
    """Where a pair comes in the order of the tasks; pairs of others come last, by name."""
    pairs = [f"{a}_{b}" for a, b in permutations(tasks, 2)]
    pair = name.partition("/")[2]
    return pairs.index(pair) if pair in pairs else len(pairs), name


def _edges(angles: Sequence[Floats]) -> Floats:
    """Of bins that all panels share, symmetrical about 90 degrees."""
    reach = max((float(np.abs(values - 90).max()) for values in angles if len(values)), default=90.0)
    most = max(len(values) for values in angles)
    return 90 + max(reach, 1.0) * np.linspace(-1, 1, 2 * int(np.clip(np.sqrt(most), 5, 20)) + 1)


def _angles(row: Row, name: str) -> Floats:
    """Of all finished runs, in degrees."""
    logged = [record.run.series[name].values for record in row.finished if name in record.run.series]
    return np.degrees(np.arccos(np.clip(np.concatenate([np.empty(0), *logged]), -1, 1)))


def _logged(row: Row, prefix: str) -> list[str]:
    return sorted({name for record in row.finished for name in _names(record.run, prefix)})


def _names(run: Run, prefix: str) -> list[str]:
    return [name for name, series in run.series.items() if name.startswith(prefix) and len(series.values)]
