"""Two runs beside each other: curves, metrics with differences, configs, pictures and cost, on one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from mtl_d2.files import write_atomically
from mtl_d2.report.charts import plot
from mtl_d2.report.config_difference import Difference, config_differences
from mtl_d2.report.curves import POINTS_AND_LINE
from mtl_d2.report.gallery import BUDGET, class_legend, entries_of, image_heading, pictures, read_jpeg
from mtl_d2.report.markup import Section, figure, folded, grid, listed, missing, paragraph, table
from mtl_d2.report.metric_differences import difference_tables
from mtl_d2.report.page import document
from mtl_d2.report.run import Run, read_run
from mtl_d2.report.series import Series
from mtl_d2.report.tables import duration, summary

MORE = "For more than two runs, or means over seeds, there is tools/compare.py (docs/comparing.md)."
# Sections of curves: anchor, title, how the names of their series begin, style of the chart, and where its axis begins.
CURVES: tuple[tuple[str, str, tuple[str, ...], str, float | None], ...] = (
    ("losses", "Losses", ("total_loss", "task_loss/", "loss_", "pseudo/loss_"), "smooth", None),
    ("cosines", "Cosines between gradients", ("cosine/",), "smooth", None),
    ("gradients", "Weights and norms of the gradients", ("weight/", "pacing", "grad_norm/"), "smooth", 0.0),
    ("time", "Time and learning rate", ("time", "data_time", "lr"), "line", 0.0),
)
TITLES = {
    "total_loss": "total loss", "task_loss": "loss", "cosine": "cosine", "weight": "weight", "pacing": "pacing p(t)",
    "grad_norm": "norm", "time": "time per update (s)", "data_time": "waiting for data (s)", "lr": "learning rate",
}  # fmt: skip
NONE = "–"


def write_two_runs(folder: str | Path, against: str | Path, output: str | Path, title: str | None = None) -> Path:
    """Writes a page of two runs beside each other.

    Args:
        folder: OUTPUT_DIR of one.
        against: of the other; differences are the first minus this one.
        output: the page.
        title: its heading; by default the runs' names.

    Returns:
        The page's path.

    Raises:
        OSError: the page cannot be written.
    """
    paths = Path(folder), Path(against)
    runs = read_run(paths[0]), read_run(paths[1])
    names = run_names(*paths)
    sections = [_metrics(runs, names), _configs(runs, names), _cost(runs, names), *_curves(runs, names)]
    sections.append(_pictures(runs, names))
    lines = "".join(
        f"<li><b>{escape(name)}</b>: {escape(summary(run)[0])}</li>" for name, run in zip(names, runs, strict=True)
    )
    problems = [f"{name}: {problem}" for name, run in zip(names, runs, strict=True) for problem in run.problems]
    head = f'<ul class="summary">{lines}</ul>{paragraph(MORE)}{listed(problems, warning=True)}'
    return write_atomically(Path(output), document(title or f"{names[0]} against {names[1]}", head, sections))


def run_names(one: Path, other: Path) -> tuple[str, str]:
    """The ends of two paths, as short as tells them apart."""
    parts, others = one.resolve().parts, other.resolve().parts
    for length in range(1, max(len(parts), len(others)) + 1):
        if parts[-length:] != others[-length:]:
            return "/".join(parts[-length:]), "/".join(others[-length:])
    return f"{parts[-1]} (first)", f"{others[-1]} (second)"


def _metrics(runs: Sequence[Run], names: Sequence[str]) -> Section:
    shown = difference_tables(runs[0].own_results, runs[1].own_results, names)
    if not shown:
        return Section("metrics", "Metrics", missing("Neither run has been evaluated."))
    text = f"The last column is {names[0]} minus {names[1]}, and bold where the first is better."
    return Section("metrics", "Metrics", shown + paragraph(text))


def _curves(runs: Sequence[Run], names: Sequence[str]) -> Iterator[Section]:
    metrics = sorted({name for run in runs for name in _evaluated(run)})
    if metrics:
        body = grid(_chart(runs, names, name, "marks", None) for name in metrics)
        yield Section("evaluations", "Metrics over training", paragraph("Each dot is an evaluation.") + body)
    for anchor, title, prefixes, style, floor in CURVES:
        logged = sorted({name for run in runs for name, s in run.series.items() if _is_curve(run, s)})
        chosen = list(dict.fromkeys(name for prefix in prefixes for name in logged if _belongs(name, prefix)))
        if chosen:
            text = paragraph(f"{POINTS_AND_LINE}.") if style == "smooth" else ""
            body = grid(_chart(runs, names, name, style, floor) for name in chosen)
            yield Section(anchor, title, text + body)


def _evaluated(run: Run) -> list[str]:
    """Names of the metrics that are not of one class, of which there were several evaluations."""
    return [
        n for n, s in run.series.items() if run.is_metric(n) and "-" not in n.rpartition("/")[2] and len(s.values) > 1
    ]


def _is_curve(run: Run, s: Series) -> bool:
    return len(s.values) > 0 and not run.is_metric(s.name)


def _belongs(name: str, prefix: str) -> bool:
    """Whether a series is the one of that name, or one of a group, `cosine/`, or a term of a loss, `loss`."""
    return name == prefix or (name.startswith(prefix) and (prefix.endswith("/") or "/" not in name[len(prefix) :]))


def _chart(runs: Sequence[Run], names: Sequence[str], name: str, style: str, floor: float | None) -> str:
    series = [run.series.get(name, Series(name, np.empty(0), np.empty(0))) for run in runs]
    title = _title(name)
    svg = plot(series, title=title, style=style, zero=name.startswith("cosine/"), floor=floor)
    lacking = [who for who, s in zip(names, series, strict=True) if not len(s.values)]
    return figure(title, svg, f"{lacking[0]} has not logged it." if lacking else "", names)


def _title(name: str) -> str:
    group, slash, member = name.partition("/")
    return f"{TITLES[group]} of {member}" if slash and group in TITLES else TITLES.get(name, name)


def _configs(runs: Sequence[Run], names: Sequence[str]) -> Section:
    without = [name for name, run in zip(names, runs, strict=True) if not run.config]
    if without:
        body = missing(f"No config.yaml that can be read: {', '.join(without)}.")
        return Section("configs", "Differences of the configs", body)
    training, rest = config_differences(*runs)
    body = paragraph("Settings that change what is trained, or how the network is built:")
    body += _difference_table(training, names) if training else paragraph("none: the same training.")
    if rest:
        head = f"What else differs, without changing the training ({len(rest)})"
        body += folded(head, _difference_table(rest, names))
    return Section("configs", "Differences of the configs", body)


def _difference_table(differences: Sequence[Difference], names: Sequence[str]) -> str:
    rows = [(escape(difference.one), escape(difference.other)) for difference in differences]
    cells = pd.DataFrame(rows, index=[difference.key for difference in differences], columns=list(names))
    return table(cells, corner="key", numeric=False)


def _cost(runs: Sequence[Run], names: Sequence[str]) -> Section:
    cells = pd.DataFrame([dict(_costs(run)) for run in runs], index=list(names)).T
    return Section("cost", "Cost", table(cells))


def _costs(run: Run) -> Iterator[tuple[str, str]]:
    yield "updates", str(run.updates)
    yield "images in each", str(run.setting("SOLVER.IMS_PER_BATCH", NONE))
    yield "training time", duration(run.seconds) if run.seconds else NONE
    for name, words in (("time", "median seconds of an update"), ("data_time", "of them waiting for data")):
        s = run.series.get(name)
        yield words, f"{np.median(s.values):.3g}" if s is not None and len(s.values) else NONE
    yield "parameters", f"{run.parameters:,}" if run.parameters else NONE
    yield "device", escape(str(run.setting("MODEL.DEVICE", NONE)))


def _pictures(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Predictions of both for the same images, with the truth."""
    entries = [
        {(e.get("dataset"), e.get("image")): e for e in entries_of(run.pictures.get("pictures")) if isinstance(e, dict)}
        for run in runs
    ]
    shared = [key for key in entries[0] if key in entries[1]]
    left = BUDGET
    shown: list[str] = []
    for key in shared:
        one, other = (of_run[key] for of_run in entries)
        files = [
            (f"prediction of {names[0]}", read_jpeg(runs[0].folder, one.get("prediction"))),
            (f"prediction of {names[1]}", read_jpeg(runs[1].folder, other.get("prediction"))),
            ("ground truth", read_jpeg(runs[0].folder, one.get("truth"))),
        ]
        jpegs = {caption: jpeg for caption, jpeg in files if jpeg is not None}
        left -= sum(map(len, jpegs.values()))
        if left < 0 and shown:
            break
        heading = image_heading(str(key[1]), str(key[0]))
        shown.append(f'<div class="pair">{heading}<div class="grid">{pictures(jpegs, str(key[1]))}</div></div>')
    if not shown:
        body = missing("The two runs have no pictures of the same image.")
    else:
        body = class_legend(runs[0], [entries[0][key] for key in shared]) + "".join(shown)
        if len(shown) < len(shared):
            body += paragraph(f"{len(shared) - len(shown)} more are left out to keep this file small.")
    return Section("pictures", "Predictions of the same images", body)
