"""Sections of curves: losses, cosines, weights, gradient norms, time, and whatever else was logged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_d2.report.markup import Section, figure, grid, group_title, missing, paragraph
from mtl_d2.report.plot import COLORS, Curve, angle_histogram, histogram, plot, smooth_curves
from mtl_d2.report.run import Run
from mtl_d2.report.series import Series

# Prefixes that have a section of their own, and names that are shown somewhere else or say nothing.
KNOWN_PREFIXES = ("task_loss/", "cosine/", "weight/", "grad_norm/")
KNOWN_NAMES = frozenset({"total_loss", "pacing", "cosine_defined", "lr", "time", "data_time", "eta_seconds"})
POINTS_AND_LINE = "Light points are logged values, the line is their running average"


def loss_section(run: Run) -> Section:
    """Total loss, each task's loss and each term of a loss."""
    tasks = _existing(run, "total_loss") + _group(run, "task_loss/")
    terms = [s for name, s in sorted(run.series.items()) if name.startswith("loss") and "/" not in name and _usable(s)]
    if not tasks and not terms:
        body = missing("No loss was logged: metrics.json is missing, empty, or the run stopped before its first row.")
        return Section("losses", "Losses", body)
    parts = [paragraph(f"{POINTS_AND_LINE}; lower is better.")]
    if tasks:
        parts.append(grid(_one(s, _loss_title(s.name)) for s in tasks))
    if terms:
        parts.append("<h3>Each term</h3>" + paragraph("The terms of a task add up to its loss."))
        parts.append(grid(_one(s, s.name) for s in terms))
    return Section("losses", "Losses", "".join(parts))


def cosine_section(run: Run) -> Section:
    """Cosines between the tasks' gradients over time, and their histograms."""
    cosines = _group(run, "cosine/")
    if not cosines:
        text = (
            "No cosine was logged: it takes two tasks with a sample in the same update, on the per-task gradient path."
        )
        return Section("cosines", "Cosines between gradients", missing(text))
    labels = [s.name.removeprefix("cosine/") for s in cosines]
    figures = [
        figure(
            "Cosine over time",
            plot(smooth_curves(cosines, labels), title="Cosine over time", zero=True),
            f"{POINTS_AND_LINE}; below zero the two pull the shared weights in opposing directions.",
            labels,
        )
    ]
    if len(cosines) == 1:
        figures += _histograms(cosines[0], "")
    parts = [paragraph(_cosine_sentence(s, label)) for s, label in zip(cosines, labels, strict=True)]
    parts += [_defined(run), grid(figures)]
    if len(cosines) > 1:
        parts += [grid(_histograms(s, f", {label}")) for s, label in zip(cosines, labels, strict=True)]
    return Section("cosines", "Cosines between gradients", "".join(parts))


def gradient_section(run: Run) -> Section:
    """Weights of the tasks' gradients, the pacing that shrinks them towards 1, and the gradients' norms."""
    weights, pacing, norms = _group(run, "weight/"), _existing(run, "pacing"), _group(run, "grad_norm/")
    notes, figures = [], []
    if weights:
        caption = f"{POINTS_AND_LINE}; each task's gradient is multiplied by its weight."
        figures.append(_together(_merged(weights, "weight/"), "Weight of each task's gradient", caption))
    else:
        text = "No weights were logged: this gradient method has none, or no update took the per-task gradient path."
        notes.append(missing(text))
    for s in pacing:
        svg = plot([_line(s, "pacing", 0)], title="Pacing over time", floor=0.0)
        caption = "The larger p(t), the more the cosines decide the weights; at zero every task counts the same."
        figures.append(figure("Pacing p(t)", svg, caption))
    if norms:
        caption = f"{POINTS_AND_LINE}; a task whose norm is far above the others' decides the sum of gradients."
        pairs = [(s.name.removeprefix("grad_norm/"), s) for s in norms]
        figures.append(_together(pairs, "Norm of each gradient", caption, floor=0.0))
    else:
        notes.append(missing("No gradient norm was logged."))
    return Section(
        "gradients", "Weights and norms of the gradients", "".join(notes) + (grid(figures) if figures else "")
    )


def time_section(run: Run) -> Section:
    """Time per update with its share of data loading, and the learning rate."""
    times, rates = _existing(run, "time", "data_time"), _existing(run, "lr")
    if not times and not rates:
        return Section("time", "Time and learning rate", missing("Neither times nor the learning rate were logged."))
    parts, figures = [], []
    if times:
        labels = ["whole update" if s.name == "time" else "waiting for data" for s in times]
        medians = [f"{label}: {np.median(s.values):.3g} s" for s, label in zip(times, labels, strict=True)]
        parts.append(paragraph(f"Median, {', '.join(medians)}."))
        svg = plot(smooth_curves(times, labels), title="Seconds per update", floor=0.0)
        caption = "Seconds per update; where the two lines come close, loading data is what takes the time."
        figures.append(figure("Time per update (s)", svg, caption, labels))
    for s in rates:
        svg = plot([_line(s, "learning rate", 0)], title="Learning rate over time", floor=0.0)
        figures.append(figure("Learning rate", svg, "The rate that each logged update used."))
    return Section("time", "Time and learning rate", "".join(parts) + grid(figures))


def other_section(run: Run) -> Section | None:
    """Series that no other section knows, one figure for each group; None if there are none."""
    groups: dict[str, list[Series]] = {}
    for name, s in sorted(run.series.items()):
        known = name in KNOWN_NAMES or name.startswith(KNOWN_PREFIXES) or (name.startswith("loss") and "/" not in name)
        if not known and not run.is_metric(name) and _usable(s):
            groups.setdefault(name.rpartition("/")[0] or name, []).append(s)
    figures = []
    for group, members in groups.items():
        for start in range(0, len(members), COLORS):
            shown = members[start : start + COLORS]
            labels = [s.name.removeprefix(f"{group}/") for s in shown]
            svg = plot(smooth_curves(shown, labels), title=group)
            figures.append(figure(group, svg, f"{POINTS_AND_LINE}.", labels if labels != [group] else ()))
            if len(shown) == 1 and labels != [group]:
                figures[-1] = figure(shown[0].name, svg, f"{POINTS_AND_LINE}.")
    return Section("other", "Other logged values", grid(figures)) if figures else None


def metric_curves(run: Run) -> str:
    """Figures of the metrics over training; empty unless there were several evaluations."""
    groups: dict[str, list[Series]] = {}
    for name, s in run.series.items():
        group, _, metric = name.rpartition("/")
        if run.is_metric(name) and "-" not in metric and len(s.values) > 1:
            groups.setdefault(group, []).append(s)
    figures = []
    for group, members in groups.items():
        labels = [s.name.removeprefix(f"{group}/") for s in members]
        curves = [
            Curve(label, s.updates, s.values, "marks", i)
            for i, (s, label) in enumerate(zip(members, labels, strict=True))
        ]
        svg = plot(curves, title=f"{group_title(group)} over training")
        figures.append(
            figure(f"{group_title(group)} over training", svg, "Each dot is one evaluation on the test set.", labels)
        )
    return grid(figures) if figures else ""


def _histograms(cosines: Series, suffix: str) -> list[str]:
    values = cosines.values
    whole = histogram([values], ["whole run"], title=f"Histogram of cosines{suffix}", filled=True)
    caption = "Percent of logged updates in each range of cosines; left of zero the two were in conflict."
    figures = [figure(f"Histogram{suffix}", whole, caption)]
    name = f"Histogram of angles{suffix}"
    caption = "The same as angles between the gradients; right of 90° the two were in conflict."
    degrees = angle_histogram([values], ["whole run"], title=name, filled=True)
    figures.append(figure(f"Angles{suffix}", degrees, caption))
    third = len(values) // 3
    if third >= 3:
        names = ["first third", "last third"]
        parts = histogram([values[:third], values[-third:]], names, title=f"{names[0]} and {names[1]}", filled=False)
        caption = "The same in percent, early against late; a shift to the right means that conflicts became rarer."
        figures.append(figure(f"First against last third{suffix}", parts, caption, names))
    return figures


def _cosine_sentence(cosines: Series, label: str) -> str:
    values = cosines.values
    conflict = np.mean(values < 0)
    return (
        f"{label}: mean {values.mean():+.3f}, standard deviation {values.std():.3f}, in conflict (below zero) in "
        f"{conflict:.0%} of {len(values)} logged updates."
    )


def _defined(run: Run) -> str:
    for s in _existing(run, "cosine_defined"):
        share = s.values.mean()
        why = ": in the others a task had no sample" if share < 1 else ""
        return paragraph(f"A cosine was defined in {share:.0%} of the updates{why}.")
    return ""


def _together(pairs: Sequence[tuple[str, Series]], title: str, caption: str, floor: float | None = None) -> str:
    """One figure of several series with their labels."""
    labels = [label for label, _ in pairs]
    svg = plot(smooth_curves([s for _, s in pairs], labels), title=title, floor=floor)
    return figure(title, svg, caption, labels)


def _merged(series: Sequence[Series], prefix: str) -> list[tuple[str, Series]]:
    """Labelled series, equal ones as one: MCLGS gives two tasks the same weight, and one curve would hide the other."""
    merged: list[tuple[str, Series]] = []
    for s in series:
        label = s.name.removeprefix(prefix)
        for i, (other, twin) in enumerate(merged):
            if np.allclose(s.values, np.interp(s.updates, twin.updates, twin.values), rtol=1e-6, atol=1e-9):
                merged[i] = (f"{other} and {label} (equal)", twin)
                break
        else:
            merged.append((label, s))
    return merged


def _one(s: Series, title: str) -> str:
    return figure(title, plot(smooth_curves([s], [title]), title=title), "")


def _line(s: Series, label: str, color: int) -> Curve:
    return Curve(label, s.updates, s.values, "line", color)


def _loss_title(name: str) -> str:
    return "total loss" if name == "total_loss" else f"loss of {name.removeprefix('task_loss/')}"


def _usable(s: Series) -> bool:
    return len(s.values) > 0


def _existing(run: Run, *names: str) -> list[Series]:
    return [run.series[name] for name in names if name in run.series and _usable(run.series[name])]


def _group(run: Run, prefix: str) -> list[Series]:
    return [s for name, s in sorted(run.series.items()) if name.startswith(prefix) and _usable(s)]
