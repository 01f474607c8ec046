"""Histograms of the page, as SVG elements whose colours follow the page's light or dark mode."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from mtl_d2.report.charts import HEIGHT, WIDTH

LEFT, RIGHT, TOP, BOTTOM = 44, 16, 10, 40  # margins
LETTERS = 6.2  # width of a letter of 12 pixels, about


def histogram(shares: npt.NDArray[np.floating], edges: Sequence[str], *, title: str, x_label: str) -> str:
    """Bars.

    Args:
        shares: (N,) percent in each bin.
        edges: N + 1 texts, one for each border between bins; those that find no room are left out.
        title: what a screen reader says.
        x_label: what the bins are of, with a unit.
    """
    top = _round_top(float(shares.max(initial=0)))
    width, height = (WIDTH - LEFT - RIGHT) / len(shares), HEIGHT - TOP - BOTTOM
    bars = "".join(
        f'<rect x="{LEFT + i * width + 0.5:.1f}" y="{HEIGHT - BOTTOM - of / top * height:.1f}" '
        f'width="{max(width - 1, 0.5):.1f}" height="{of / top * height:.1f}" fill="var(--c0)">'
        f"<title>{escape(edges[i])} to {escape(edges[i + 1])}: {of:.3g} %</title></rect>"
        for i, of in enumerate(shares.tolist())
        if of > 0
    )
    lines = "".join(
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--rule)"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="var(--soft)">{value:g} %</text>'
        for value in (0, top / 2, top)
        for y in [HEIGHT - BOTTOM - value / top * height]
    )
    room = max(map(len, edges)) * LETTERS + 8
    every = int(np.ceil(room / width))
    ticks = "".join(
        f'<text x="{LEFT + i * width:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="var(--soft)">'
        f"{escape(edges[i])}</text>"
        for i in range(0, len(edges), every)
    )
    name = escape(title)
    label = f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end" fill="var(--soft)">{escape(x_label)}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>'
        f"{lines}{bars}{ticks}{label}</svg>"
    )


def _round_top(most: float) -> float:
    """The end of the axis: a round number of percent, at least the highest bar."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** np.floor(np.log10(most))
    return float(next(unit * step for step in (1, 2, 4, 6, 10) if unit * step >= most))


def doubling(values: npt.NDArray[np.floating], *, least: float, most: float, per_doubling: int = 1) -> tuple[
    npt.NDArray[np.floating], list[str]
]:  # fmt: skip
    """Percent of ``values`` in bins whose borders grow by a factor of 2 each, or so many times in it.

    Args:
        values: (N,) above 0.
        least: where the bins begin, at most; they begin nearer to the values where these do.
        most: where they end; beyond both, values count in the outermost bins.
        per_doubling: bins in each doubling.

    Returns:
        the shares, and the borders as texts.
    """
    low = float(np.clip(values.min(initial=most), least, most / 2))
    high = float(np.clip(values.max(initial=least), low * 2, most))
    first = int(np.floor(np.log2(low) * per_doubling))
    last = max(int(np.ceil(np.log2(high) * per_doubling)), first + 1)
    borders = 2.0 ** (np.arange(first, last + 1) / per_doubling)
    counts = np.histogram(values.clip(borders[0], borders[-1]), borders)[0]
    return counts * 100 / max(len(values), 1), [_number(border) for border in borders]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value / 1000:.3g}k"
