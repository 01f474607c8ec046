"""The page: one self-contained HTML file made of what a run left in its folder."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mtl_d2.files import write_atomically
from mtl_d2.report.curves import cosine_section, gradient_section, loss_section, other_section, time_section
from mtl_d2.report.file_names import REPORT
from mtl_d2.report.following import Following
from mtl_d2.report.gallery import picture_section
from mtl_d2.report.markup import Section, listed
from mtl_d2.report.run import NO_PICTURES, Run, read_run
from mtl_d2.report.series import CUT
from mtl_d2.report.settings import settings_section
from mtl_d2.report.tables import metrics_section, summary
from mtl_d2.report.union import union_section

STYLE, WATCH = (Path(__file__).with_name(name) for name in ("page.css", "watch.js"))
CHARTS = tuple(Path(__file__).with_name(name) for name in ("chart_axes.js", "charts.js"))


def write_report(output_dir: str | Path, title: str | None = None, following: Following | None = None) -> Path:
    """Writes `OUTPUT_DIR/report.html` from the files of a run, finished or not.

    Args:
        output_dir: the run's folder. Reads `config.yaml`, `metrics.json`, `results.json` and `pictures/`; what is
            missing or broken among them is said on the page.
        title: heading of the page; by default the folder's name.
        following: of a page that is to load itself again when it was written anew.

    Returns:
        The path of the report.

    Raises:
        NotADirectoryError: if `output_dir` is no folder.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        raise NotADirectoryError(
            f"output_dir must be the folder of a run, found {str(folder)!r}, which is no folder; pass its OUTPUT_DIR"
        )
    run = read_run(folder)
    return write_atomically(folder / REPORT, _page(run, title or folder.resolve().name, following))


def document(title: str, head: str, sections: Sequence[Section], following: Following | None = None) -> str:
    """A whole HTML file.

    Args:
        title: text.
        head: HTML between the title and the links to the sections.
        sections: the rest.
        following: as in `write_report`.
    """
    scripts, attributes = list(CHARTS), ""
    if following is not None:
        scripts.append(WATCH)
        attributes = (
            f' data-changes="{escape(following.changes)}" data-version="{escape(following.version)}" '
            f'data-seconds="{following.seconds:g}"'
        )
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    parts = "".join(f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections)
    written = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head><body{attributes}><main>"
        f"<header><h1>{escape(title)}</h1>{head}<nav>{links}</nav></header>{parts}"
        f"<footer>Written by mtl_d2 on {written}.</footer></main>"
        f"<script>{_program(scripts)}</script>"
        "</body></html>\n"
    )


def _program(scripts: Sequence[Path]) -> str:
    """Scripts that share their names with each other, and with nothing else in the browser."""
    text = "".join(script.read_text(encoding="utf-8") for script in scripts)
    return f'"use strict";\n(() => {{\n{text}}})();\n'


def _page(run: Run, title: str, following: Following | None) -> str:
    line, figures = summary(run)
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for label, value in figures)
    head = (
        f'<p class="summary">{escape(line)}</p><div class="tiles">{tiles}</div>{_warnings(run, following is not None)}'
    )
    return document(title, head, _sections(run), following)


def _sections(run: Run) -> Sequence[Section]:
    sections = (
        metrics_section(run),
        picture_section(run),
        loss_section(run),
        cosine_section(run),
        gradient_section(run),
        union_section(run),
        time_section(run),
        other_section(run),
        settings_section(run),
    )
    return [section for section in sections if section is not None]


def _warnings(run: Run, goes_on: bool) -> str:
    """What is missing or broken, without what is so in every run that still goes on."""
    problems = [p for p in run.problems if not (goes_on and (p == CUT or NO_PICTURES in p))]
    planned = run.setting("SOLVER.MAX_ITER")
    if isinstance(planned, int) and run.updates < planned and not goes_on:
        problems.insert(0, f"Training stopped early: the log ends at update {run.updates} of {planned}.")
    return listed(problems, warning=True)
