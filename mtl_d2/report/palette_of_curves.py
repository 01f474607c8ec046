"""Colours and dashes of curves, which differ also on paper, and for an eye without the cones for red or for green.

The first hues are those of Okabe and Ito, "Color Universal Design" (2008), darker where a line on white needs it. The
order is such that curves of the same dashes have colours that are far apart for any of these eyes.
"""

from __future__ import annotations

COLORS = ("#0072b2", "#d55e00", "#00855f", "#b4508c", "#8a6d00", "#a11d33", "#6b6f7a", "#3d3a8c")
# Lengths of line and gap, in pixels. They take turns, and move on by one more when the colours start over.
DASHES = ((), (7, 2.5), (2.5, 2), (9, 2, 2, 2), (5, 2, 1.5, 2, 1.5, 2))
LineStyle = str | tuple[float, tuple[float, ...]]


def dash_lengths(index: int) -> tuple[float, ...]:
    """Of the curve with this place: line, gap, line, ...; none for a solid one."""
    return DASHES[(index + index // len(COLORS)) % len(DASHES)]


def dashes(index: int) -> LineStyle:
    """``dash_lengths`` as matplotlib's style of a line."""
    lengths = dash_lengths(index)
    return (0.0, lengths) if lengths else "-"
