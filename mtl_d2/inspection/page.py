"""The page of what was found in the data of a config: one HTML file, and a folder of pictures beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mtl_d2.inspection.findings import Findings, SetFindings
from mtl_d2.inspection.gallery import Embedding, gallery
from mtl_d2.inspection.mixture import mixture_section, notable_draws
from mtl_d2.inspection.set_facts import facts
from mtl_d2.report.markup import Section, listed, missing, paragraph
from mtl_d2.report.page import document
from mtl_d2.tasks.registry import kind_of, kinds_of
from mtl_d2.tasks.sources import PSEUDO

# What report.html does not need: a ring around a picture that the keyboard has chosen, and boxes of different weight.
STYLE = (
    "<style>.chart input:focus-visible+img{outline:2px solid var(--link);outline-offset:3px}"
    ".refused{background:#fdecea;color:#9b1c13;border-radius:8px;padding:10px 14px 10px 32px;margin:0 0 14px}"
    "header li{overflow-wrap:anywhere;margin:3px 0}header h3{margin-top:14px}section>h3{font-size:16px;margin-top:24px}"
    "@media(prefers-color-scheme:dark){.refused{background:#35191a;color:#f3a7a2}}</style>"
)
FINE = "Nothing suspicious was found in what was looked at."


def data_page(findings: Findings, folder: Path) -> str:
    """The HTML.

    Args:
        findings: what it tells.
        folder: in which the page will be.
    """
    embedding = Embedding(folder)
    sections = [s for s in (mixture_section(findings),) if s is not None]
    sections += [_section(findings, seen, embedding, i) for i, seen in enumerate(findings.sets)]
    return document(findings.title, STYLE + _head(findings), sections)


def _head(findings: Findings) -> str:
    cfg, limits = findings.cfg, findings.limits
    tasks = ", ".join(map(str, cfg.MTL.TASKS))
    text = (
        f"What the loader gives for {tasks}: samples with all their labels as they are trained on, after augmentation. "
        f"Classes of objects are counted in all images, everything else in at most {limits.statistics} samples of each "
        "data set."
    )
    images = sum(len(seen.data_set.records) for seen in findings.sets)
    suspicious = findings.all_suspicious()
    figures = [
        ("images", f"{images:,}"),
        ("data sets", str(len(findings.sets))),
        ("samples looked at", f"{sum(len(seen.observed) for seen in findings.sets):,}"),
        ("to look at", str(len(suspicious) + len(findings.warned))),
    ]
    if findings.refused:
        figures.insert(3, ("refused", str(len(findings.refused))))
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for label, value in figures)
    html = f'<p class="summary">{escape(text)}</p><div class="tiles">{tiles}</div>'
    if findings.stopped:
        html += missing("Stopped before the end: this is what was seen until then.")
    html += _box("A training would not begin", findings.refused, "refused")
    html += _box("Suspicious: look whether it is meant", suspicious, "warnings")
    html += _box("A training would warn of", findings.warned, "warnings")
    if not (findings.refused or suspicious or findings.warned):
        html += paragraph(FINE)
    return html + _box("Worth knowing", [*notable_draws(findings), *findings.all_notes()], "notes")


def _box(title: str, lines: list[str], look: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h3>{escape(title)}</h3><ul class="{look}">{items}</ul>' if items else ""


def _section(findings: Findings, seen: SetFindings, embedding: Embedding, number: int) -> Section:
    """All of one data set."""
    body = listed([*seen.suspicious], warning=True) + facts(findings, seen) + gallery(findings, seen, embedding)
    for (prefix, task), summary in seen.summaries.items():
        tasks = _named_with(findings, task)
        heading = f"{tasks}, pseudo labels" if prefix == PSEUDO else tasks
        body += f"<h3>{escape(heading)}</h3>{summary.html}" if summary.html else ""
    kind = "trained on" if seen.data_set.is_trained_on else "tested on"
    return Section(f"set{number}", f"{seen.name} ({kind})", body)


def _named_with(findings: Findings, task: str) -> str:
    """The task, with those that read their labels from the same place."""
    key = kind_of(task).sample_key
    return " and ".join(kind.task for kind in kinds_of(findings.cfg.MTL.TASKS) if kind.sample_key == key)
