"""The numbers of an analysis as CSV and JSON, and a page of Markdown with what they say."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from mtl_d2.analysis.advice import ENOUGH, RATIO, WEAK
from mtl_d2.analysis.bootstrap import CONFIDENCE, RESAMPLES, Estimate
from mtl_d2.analysis.result import LAYER, Analysis, Part
from mtl_d2.analysis.run import Moment, RunAnalysis
from mtl_d2.analysis.run_advice import run_advice, when

COLUMNS = (
    *("checkpoint", "updates", "split", "level", "part", "stage", "parameters"),
    *("quantity", "task", "other", "mean", "low", "high", "batches"),
)
COSINE, NORM, RATIO_OF_NORMS = "cosine", "norm", "norm ratio"


def csv_table(known: RunAnalysis) -> str:
    """A line for each number, for pandas and spreadsheets; columns are ``COLUMNS``.

    A "norm ratio", of stages, is the norm of ``task`` divided by that of ``other``. "low" and "high" are empty
    below two batches.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for moment in known.moments:
        of = (moment.checkpoint.path.name, moment.checkpoint.updates, moment.split)
        for part, quantity, tasks, e in _numbers(moment.analysis):
            about = (part.level, part.name, part.stage, part.parameters, quantity, *tasks)
            writer.writerow([*of, *about, *(_plain(x) for x in (e.mean, e.low, e.high)), e.batches])
    return file.getvalue()


def json_text(known: RunAnalysis) -> str:
    """All of it: settings, sentences, and the numbers by moment, part, quantity and tasks."""
    content = {
        "run": known.run,
        "method": known.method,
        "images_per_batch": known.images,
        "datasets": known.datasets,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "rules": {"enough_batches": ENOUGH, "weak_cosine": WEAK, "norm_ratio": RATIO},
        "advice": run_advice(known),
        "failures": known.failures,
        "moments": [_moment(moment) for moment in known.moments],
    }
    return json.dumps(content, allow_nan=False)


def markdown(known: RunAnalysis, picture: str) -> str:
    """A page: what to try, the picture, and the stages at the last checkpoint.

    Args:
        known: what was found.
        picture: file name of the picture, beside the page; empty if there is none.
    """
    first = known.moments[0].split
    last = [m for m in known.moments if m.checkpoint == known.of(first)[-1].checkpoint]
    lines = [f"# {known.run}: which layers the tasks disagree in", ""]
    lines += [f"Trained with: {known.method}. All gradients are those before it, of the tasks' own losses."]
    for split, datasets in known.datasets.items():
        lines.append(f"Batches of {known.images} {split} images are of {', '.join(datasets)}.")
    lines += ["", f"## {when(last[0]).capitalize()}, on {first} images", ""]
    lines += [f"- {sentence}" for sentence in run_advice(known)]
    lines += ["", *(f"- not analyzed: {line}" for line in known.failures)]
    lines += [f"![cosines by layer over training]({picture})", ""] if picture else []
    for moment in last:
        lines += [f"## Stages, {when(moment)}, {moment.split}", "", *_tables(moment.analysis)]
    lines += [f"Means over batches [{CONFIDENCE:.0%} interval]; (n) where not all batches count. Layers: analysis.csv"]
    return "\n".join(lines) + "\n"


def _tables(analysis: Analysis) -> Iterator[str]:
    """Cosines by stage and pair, and norms by stage and task."""
    total = max(analysis.batches.values())
    parts = [part for part in analysis.parts if part.level != LAYER]
    tasks = [(task,) for task in analysis.tasks]
    for title, keys, numbers in (("cosine", analysis.pairs, analysis.cosines), ("norm", tasks, analysis.norms)):
        yield f"| {title} | " + " | ".join(", ".join(key) for key in keys) + " |"
        yield "|---" * (len(keys) + 1) + "|"
        for part in parts:
            cells = [_cell(numbers.get((part, *key)), total) for key in keys]  # type: ignore[arg-type]
            yield f"| {part.name} | " + " | ".join(cells) + " |"
        yield ""


def _cell(e: Estimate | None, total: int) -> str:
    if e is None:
        return ""
    interval = f" [{e.low:.2g}, {e.high:.2g}]" if math.isfinite(e.low) else ""
    return f"{e.mean:.2g}{interval}" + (f" ({e.batches})" if e.batches < total else "")


def _numbers(analysis: Analysis) -> Iterator[tuple[Part, str, tuple[str, str], Estimate]]:
    for (part, a, b), e in analysis.cosines.items():
        yield part, COSINE, (a, b), e
    for (part, task), e in analysis.norms.items():
        yield part, NORM, (task, ""), e
    for (part, a, b), e in analysis.ratios.items():
        if (a, b) in analysis.together and part.level != LAYER:
            yield part, RATIO_OF_NORMS, (a, b), e


def _moment(moment: Moment) -> dict[str, Any]:
    analysis = moment.analysis
    parts: dict[Part, dict[str, Any]] = {
        part: {"level": part.level, "name": part.name, "stage": part.stage, "parameters": part.parameters}
        for part in analysis.parts
    }
    for part, quantity, tasks, e in _numbers(analysis):
        numbers = {"mean": _plain(e.mean), "low": _plain(e.low), "high": _plain(e.high), "batches": e.batches}
        parts[part].setdefault(quantity, []).append({"tasks": [task for task in tasks if task], **numbers})
    return {
        "checkpoint": moment.checkpoint.path.name,
        "updates": moment.checkpoint.updates,
        "split": moment.split,
        "batches": dict(analysis.batches),
        "together": [{"tasks": list(pair), "batches": n} for pair, n in analysis.together.items()],
        "batches_without_labels": analysis.empty,
        "parts": list(parts.values()),
    }


def _plain(value: float) -> float | None:
    """To six digits; None where there is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
