"""The files of a comparison's figures, and one page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mtl_d2.comparison.paper_figure import PaperFigure
from mtl_d2.files import write_atomically
from mtl_d2.report.markup import Section, listed, paragraph
from mtl_d2.report.page import document

FOLDER = "figures"  # in the comparison's folder
PAGE = "figures.html"


def write_figures(
    folder: Path, title: str, figures: Sequence[PaperFigure], kind: str = "png", notes: Sequence[str] = ()
) -> list[Path]:
    """Writes each figure into ``folder``, and ``figures.html`` beside them.

    Args:
        folder: is made.
        title: of the comparison.
        figures: those without anything to show are named on the page, with the reason.
        kind: "png", "pdf" or "svg".
        notes: what a reader is to know of the runs.

    Returns:
        The paths of the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [figure.save(folder, kind) for figure in figures]
    sections = [_section(figure, path) for figure, path in zip(figures, files, strict=True)]
    write_atomically(folder / PAGE, document(f"{title}: figures", listed(notes, warning=True), sections))
    return [path for path in files if path is not None]


def _section(figure: PaperFigure, path: Path | None) -> Section:
    shown = ""
    if path is not None:
        source, name = escape(path.name, quote=True), escape(figure.title, quote=True)
        tag = f'<embed src="{source}">' if path.suffix == ".pdf" else f'<img src="{source}" alt="{name}">'
        shown = f"<figure>{tag}<figcaption>{escape(figure.caption)}</figcaption></figure>"
    lacks = listed(figure.lacks, warning=path is None)
    return Section(figure.name, figure.title, (shown or paragraph("Nothing to draw.")) + lacks)
