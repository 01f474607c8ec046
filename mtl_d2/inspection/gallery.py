"""Samples on the page: pictures beside each other, embedded as far as the page stays small."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mtl_d2.inspection.findings import Findings, SetFindings
from mtl_d2.inspection.pictures import Panel, Shown
from mtl_d2.report.markup import figure, missing, paragraph

BUDGET = 6_000_000  # bytes of JPEG in a page; base64 makes a third more of them


@dataclass
class Embedding:
    """Puts pictures into the page until it is large enough; the others are shown from their files.

    Attributes:
        folder: of the page.
        left: bytes that the page still takes.
    """

    folder: Path
    left: int = BUDGET

    def source(self, file: Path) -> str:
        """What an ``img`` shows."""
        content = file.read_bytes()
        if len(content) > self.left:
            return escape(str(file.relative_to(self.folder)))
        self.left -= len(content)
        return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"


def gallery(findings: Findings, seen: SetFindings, embedding: Embedding) -> str:
    """The samples of a data set that were drawn, with a legend of the classes that they show."""
    if not seen.shown:
        return missing("No sample could be drawn.") if seen.failed else ""
    classes = {name for shown in seen.shown for name in shown.classes}
    keys = "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>'
        for name, color in findings.colors.items()
        if name in classes
    )
    legend = f'<div class="legend">{keys}</div>' if keys else ""
    text = "Pixels in plain image colours have no label; grey crosses are regions that are left out of the losses."
    return f"<h3>Samples</h3>{paragraph(text)}{legend}" + "".join(_sample(shown, embedding) for shown in seen.shown)


def _sample(shown: Shown, embedding: Embedding) -> str:
    panels = "".join(_panel(panel, shown.image, embedding) for panel in shown.panels)
    notes = missing(f"Not drawn: {', '.join(shown.left_out)}.") if shown.left_out else ""
    if len(shown.panels) == 1:
        notes += missing("This sample has no label.")
    return (
        f'<div class="pair"><h3>{escape(shown.image)} <small>{escape(shown.text)}</small></h3>'
        f'<div class="grid">{panels}</div>{notes}</div>'
    )


def _panel(panel: Panel, image: str, embedding: Embedding) -> str:
    words = escape(f"{panel.title} of {image}")
    return figure(panel.title, f'<img alt="{words}" src="{embedding.source(panel.file)}">', panel.caption)
