"""Sections of curves: losses, cosines, weights, gradient norms, time, and whatever else was logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from mtl_d2.report.charts import angle_histogram, histogram, plot
from mtl_d2.report.markup import Section, figure, grid, group_title, missing, paragraph
from mtl_d2.report.palette_of_curves import COLORS
from mtl_d2.report.run import Run
from mtl_d2.report.scalar_names import EPOCHS, IN_SAMPLES, IN_UPDATES
from mtl_d2.report.series import Floats, Series
from mtl_d2.tasks.sources import PSEUDO

# Prefixes that have a section of their own, and names that are shown somewhere else or say nothing.
KNOWN_PREFIXES = ("task_loss/", "cosine/", "weight/", "grad_norm/", EPOCHS, IN_UPDATES, IN_SAMPLES)
KNOWN_NAMES = frozenset({"total_loss", "pacing", "cosine_defined", "lr", "time", "data_time", "eta_seconds"})
TIMES = {"time": "whole update", "data_time": "waiting for data"}
POINTS_AND_LINE = "Light points are logged values, the line is their running average"


def loss_section(run: Run) -> Section:
    """Total loss, each task's loss and each term of a loss."""
    tasks = [("total loss", s) for s in _existing(run, "total_loss")]
    tasks += [(f"loss of {label}", s) for label, s in _group(run, "task_loss/").items()]
    terms = [(name, s) for name, s in _logged(run).items() if _is_term(name)]
    if not tasks and not terms:
        body = missing("No loss was logged: metrics.json is missing, empty, or the run stopped before its first row.")
        return Section("losses", "Losses", body)
    body = paragraph(f"{POINTS_AND_LINE}; lower is better.")
    body += grid(_chart(label, [s]) for label, s in tasks) if tasks else ""
    if terms:
        taught = any(name.startswith(PSEUDO) for name, _ in terms)
        what = ", each times the weight of its source of labels" if taught else ""
        body += "<h3>Each term</h3>" + paragraph(f"The terms of a task add up to its loss{what}.")
        body += grid(_chart(_term_title(name, taught), [s]) for name, s in terms)
    return Section("losses", "Losses", body)


def cosine_section(run: Run) -> Section:
    """Cosines between the tasks' gradients over time, and their histograms."""
    cosines = _group(run, "cosine/")
    if not cosines:
        why = "it takes two tasks with a sample in the same update, on the per-task gradient path"
        return Section("cosines", "Cosines between gradients", missing(f"No cosine was logged: {why}."))
    body = "".join(paragraph(_cosine_sentence(label, s.values)) for label, s in cosines.items())
    for s in _existing(run, "cosine_defined"):
        why = ": in the others a task had no sample" if s.values.mean() < 1 else ""
        body += paragraph(f"A cosine was defined in {s.values.mean():.0%} of the updates{why}.")
    caption = f"{POINTS_AND_LINE}; below zero the two pull the shared weights in opposing directions."
    rows = [[_labelled("Cosine over time", cosines, caption, zero=True)]]
    for label, s in cosines.items():
        several = len(cosines) > 1
        histograms = _histograms(s.values, f", {label}" if several else "")
        rows = [*rows, histograms] if several else [[*rows[0], *histograms]]
    return Section("cosines", "Cosines between gradients", body + "".join(map(grid, rows)))


def gradient_section(run: Run) -> Section:
    """Weights of the tasks' gradients, the pacing that shrinks them towards 1, and the gradients' norms."""
    weights, norms = _group(run, "weight/"), _group(run, "grad_norm/")
    notes, figures = "", []
    if weights:
        caption = f"{POINTS_AND_LINE}; each task's gradient is multiplied by its weight."
        figures.append(_labelled("Weight of each task's gradient", _merged(weights), caption))
    else:
        why = "this gradient method has none, or no update took the per-task gradient path"
        notes += missing(f"No weights were logged: {why}.")
    for s in _existing(run, "pacing"):
        caption = "The larger p(t), the more the cosines decide the weights; at zero every task counts the same."
        figures.append(_chart("Pacing p(t)", [s], caption, style="line", floor=0.0))
    if norms:
        caption = f"{POINTS_AND_LINE}; a task whose norm is far above the others' decides the sum of gradients."
        figures.append(_labelled("Norm of each gradient", norms, caption, floor=0.0))
    else:
        notes += missing("No gradient norm was logged.")
    return Section("gradients", "Weights and norms of the gradients", notes + (grid(figures) if figures else ""))


def time_section(run: Run) -> Section:
    """Time per update with its share of data loading, and the learning rate."""
    times = {TIMES[s.name]: s for s in _existing(run, *TIMES)}
    rates = _existing(run, "lr")
    if not times and not rates:
        return Section("time", "Time and learning rate", missing("Neither times nor the learning rate were logged."))
    body, figures = "", []
    if times:
        body = paragraph(f"Median, {', '.join(f'{k}: {np.median(s.values):.3g} s' for k, s in times.items())}.")
        caption = "Seconds per update; where the two lines come close, loading data is what takes the time."
        figures.append(_labelled("Time per update (s)", times, caption, floor=0.0))
    for s in rates:
        figures.append(_chart("Learning rate", [s], "The rate that each logged update used.", style="line", floor=0.0))
    return Section("time", "Time and learning rate", body + grid(figures))


def other_section(run: Run) -> Section | None:
    """Series that no other section knows, one figure for each group; None if there are none."""
    groups: dict[str, dict[str, Series]] = {}
    for name, s in _logged(run).items():
        if name not in KNOWN_NAMES and not name.startswith(KNOWN_PREFIXES) and not _is_term(name):
            group = name.rpartition("/")[0] or name
            groups.setdefault(group, {})[name.removeprefix(f"{group}/")] = s
    figures = []
    for group, members in groups.items():
        rest = iter(members.items())
        while shown := dict(islice(rest, len(COLORS))):
            alone = len(shown) == 1
            title = next(iter(shown.values())).name if alone else group
            figures.append(_chart(title, list(shown.values()), f"{POINTS_AND_LINE}.", () if alone else tuple(shown)))
    return Section("other", "Other logged values", grid(figures)) if figures else None


def metric_curves(run: Run) -> str:
    """Figures of the metrics over training; empty unless there were several evaluations."""
    groups: dict[str, dict[str, Series]] = {}
    for name, s in run.series.items():
        group, _, metric = name.rpartition("/")
        if run.is_metric(name) and "-" not in metric and len(s.values) > 1:
            groups.setdefault(f"{group_title(group)} over training", {})[metric] = s
    figures = []
    for title, metrics in groups.items():
        where = "images held out of training" if title.startswith("validation ") else "the test set"
        figures.append(_labelled(title, metrics, f"Each dot is one evaluation on {where}.", style="marks"))
    return grid(figures) if figures else ""


def _histograms(cosines: Floats, suffix: str) -> list[str]:
    """Figures of the distribution of one pair's cosines, of (K,) values."""
    title, turned = f"Histogram{suffix}", f"Angles{suffix}"
    caption = "Percent of logged updates in each range of cosines; left of zero the two were in conflict."
    figures = [figure(title, histogram([cosines], title=title, filled=True), caption)]
    caption = "The same as angles between the gradients; right of 90° the two were in conflict."
    figures.append(figure(turned, angle_histogram([cosines], title=turned, filled=True), caption))
    third = len(cosines) // 3
    if third >= 3:
        title = f"First against last third{suffix}"
        svg = histogram([cosines[:third], cosines[-third:]], title=title, filled=False)
        caption = "The same in percent, early against late; a shift to the right means that conflicts became rarer."
        figures.append(figure(title, svg, caption, ["first third", "last third"]))
    return figures


def _cosine_sentence(label: str, cosines: Floats) -> str:
    return (
        f"{label}: mean {cosines.mean():+.3f}, standard deviation {cosines.std():.3f}, in conflict (below zero) in "
        f"{np.mean(cosines < 0):.0%} of {len(cosines)} logged updates."
    )


def _merged(series: Mapping[str, Series]) -> dict[str, Series]:
    """Equal series as one: MCLGS gives two tasks the same weight, and one curve would hide the other."""
    merged: dict[str, tuple[list[str], Series]] = {}
    for label, s in series.items():
        for labels, twin in merged.values():
            if np.allclose(s.values, np.interp(s.updates, twin.updates, twin.values), rtol=1e-6, atol=1e-9):
                labels.append(label)
                break
        else:
            merged[label] = [label], s
    return {" and ".join(labels) + " (equal)" * (len(labels) > 1): s for labels, s in merged.values()}


def _labelled(title: str, series: Mapping[str, Series], caption: str, **look: Any) -> str:
    """A figure with a legend that names each of the series; `look` as in `plot`."""
    return _chart(title, list(series.values()), caption, tuple(series), **look)


def _chart(title: str, series: Sequence[Series], caption: str = "", legend: Sequence[str] = (), **look: Any) -> str:
    return figure(title, plot(series, title=title, **look), caption, legend)


def _is_term(name: str) -> bool:
    term = name.removeprefix(PSEUDO)
    return term.startswith("loss") and "/" not in term


def _term_title(name: str, taught: bool) -> str:
    """A term's name and, where some are of pseudo labels, whose labels it is of."""
    if not taught:
        return name
    term = name.removeprefix(PSEUDO)
    return f"{term} of {'the ground truth' if term == name else 'pseudo labels'}"


def _logged(run: Run) -> dict[str, Series]:
    """What was logged by name, without the metrics."""
    return {name: s for name, s in sorted(run.series.items()) if len(s.values) and not run.is_metric(name)}


def _existing(run: Run, *names: str) -> list[Series]:
    return [run.series[name] for name in names if name in run.series and len(run.series[name].values)]


def _group(run: Run, prefix: str) -> dict[str, Series]:
    return {name.removeprefix(prefix): s for name, s in _logged(run).items() if name.startswith(prefix)}
