"""Plots as inline SVG: colours come from the page's style sheet, so that they follow its light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mtl_d2.report.series import Floats, Series, running_average, thinned

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
COLORS = 8  # the style sheet's classes c0 .. c7
UPDATE = "update"  # label of an axis of whole numbers
FEW = 60  # fewer points than these are drawn larger
MAX_POINTS, MAX_VERTICES = 400, 240


@dataclass(frozen=True)
class Curve:
    """One drawn series.

    Attributes:
        label: its name in the legend.
        x: (K,) finite.
        y: (K,) finite.
        style: `points`, `line`, `marks` (a line with a dot at each value), `steps` (an outline of bars), `bars` or
            `band` (a filled outline).
        color: index of its colour; beyond `COLORS` they start over, dashed.
    """

    label: str
    x: Floats
    y: Floats
    style: str
    color: int


@dataclass(frozen=True)
class Axis:
    """Linear map from [low, high] to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value; values outside lie on the border."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int, least: float = 0.0) -> list[float]:
        """Round numbers (1, 2 or 5 times a power of ten apart, at least `least`) in the range, `about` so many."""
        raw = max((self.high - self.low) / about, least)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def smooth_curves(series: Sequence[Series], labels: Sequence[str]) -> list[Curve]:
    """Light points for the logged values and a line for their running average, for each series."""
    curves = []
    for color, (one, label) in enumerate(zip(series, labels, strict=True)):
        average, _ = running_average(one.values)
        curves.append(Curve(label, *thinned(one.updates, one.values, MAX_POINTS), "points", color))
        curves.append(Curve(label, *thinned(one.updates, average, MAX_VERTICES), "line", color))
    return curves


def plot(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str = UPDATE,
    zero: bool = False,
    floor: float | None = None,
    mark: float | None = None,
) -> str:
    """An SVG element.

    Args:
        curves: what to draw, the first one lowest.
        title: what a screen reader says.
        x_label: under the x axis.
        zero: make the y axis symmetrical about a marked zero.
        floor: where the y axis begins; else at the lowest value.
        mark: a place on the x axis with a dotted line.
    """
    x_axis = Axis(*_widened(*_x_range(curves)), LEFT, WIDTH - RIGHT)
    low, high = _y_range(curves)
    margin = (high - low) * 0.04
    low, high = low - margin if floor is None else floor, high + margin
    if zero:
        high = max(abs(low), abs(high), 1e-6)
        low = -high
    y_axis = Axis(*_widened(low, high), HEIGHT - BOTTOM, TOP)
    parts = [_frame(x_axis, y_axis, x_label)]
    if zero:
        parts.append(f'<path class="zero" d="M{LEFT} {y_axis(0):.1f}H{WIDTH - RIGHT}"/>')
    if mark is not None:
        parts.append(f'<path class="zero" d="M{x_axis(mark):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    parts += [_drawn(curve, x_axis, y_axis) for curve in curves]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def histogram(
    values: Sequence[Floats],
    labels: Sequence[str],
    *,
    title: str,
    filled: bool,
    centre: float = 0.0,
    x_label: str = "cosine",
) -> str:
    """Shares of values per bin, symmetrical about a centre, as an SVG element.

    Args:
        values: one array of finite numbers for each outline; they share their bins. An empty one is not drawn.
        labels: their names.
        title: what a screen reader says.
        filled: bars instead of outlines.
        centre: where a bin ends; marked.
        x_label: what the values are.
    """
    reach = max([float(np.abs(v - centre).max()) for v in values if len(v)], default=1.0)
    reach = max(reach, 1e-6)
    count = max(len(v) for v in values)
    edges = centre + np.linspace(-reach, reach, 2 * int(min(max(math.sqrt(count), 5), 20)) + 1)
    curves = []
    for color, (v, label) in enumerate(zip(values, labels, strict=True)):
        if not len(v):
            continue
        shares = np.histogram(v, bins=edges)[0] / len(v) * 100
        x, y = np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
        curves.append(Curve(label, x, y, "bars" if filled else "steps", color))
    return plot(curves, title=title, x_label=x_label, floor=0.0, mark=centre)


def angle_histogram(cosines: Sequence[Floats], labels: Sequence[str], *, title: str, filled: bool) -> str:
    """``histogram`` of the angles that belong to cosines, in degrees."""
    angles = [np.degrees(np.arccos(np.clip(one, -1, 1))) for one in cosines]
    return histogram(angles, labels, title=title, filled=filled, centre=90.0, x_label="degrees")


def number(value: float, digits: int = 4) -> str:
    """A short number: 0.012, 12.5, 20k, 1.5M, 3e-5.

    Args:
        value: finite.
        digits: how many digits it has at most, at least 3.
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e9 or size < 1e-3:
        mantissa, _, exponent = f"{value:.{digits - 3}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    for least, unit, suffix in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= least:
            return f"{value / unit:.{digits}g}{suffix}"
    return f"{value:.{digits}g}"


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Short numbers that differ from each other."""
    candidates = [[number(tick, digits) for tick in ticks] for digits in range(4, 12)]
    return next((labels for labels in candidates if len(set(labels)) == len(ticks)), candidates[-1])


def _x_range(curves: Sequence[Curve]) -> tuple[float, float]:
    filled = [c.x for c in curves if len(c.x)]
    return (min(float(x.min()) for x in filled), max(float(x.max()) for x in filled)) if filled else (0.0, 1.0)


def _y_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """All of a line, and of points all but the most extreme hundredth on either side."""
    lows, highs = [], []
    for curve in curves:
        if len(curve.y):
            low, high = np.percentile(curve.y, (1, 99) if curve.style == "points" and len(curve.y) > 50 else (0, 100))
            lows.append(float(low))
            highs.append(float(high))
    return min(lows, default=0.0), max(highs, default=1.0)


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range of some width: one value gets room on either side."""
    least = max(abs(low), abs(high), 1e-9) * 1e-3
    return (low, high) if high - low > least else (low - 50 * least, high + 50 * least)


def _frame(x_axis: Axis, y_axis: Axis, x_label: str) -> str:
    parts = []
    y_ticks, x_ticks = y_axis.ticks(6), x_axis.ticks(5, least=1.0 if x_label == UPDATE else 0.0)
    for tick, label in zip(y_ticks, tick_labels(y_ticks), strict=True):
        y = y_axis(tick)
        parts.append(f'<path class="gridline" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    base = HEIGHT - BOTTOM
    for tick, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
        x = x_axis(tick)
        parts.append(f'<path class="axis" d="M{x:.1f} {base}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    return "".join(parts)


def _drawn(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    if not len(curve.x):
        return ""
    places = [f"{x_axis(x):.1f} {y_axis(y):.1f}" for x, y in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    dashed = " dashed" if curve.color >= COLORS else ""
    color = f"c{curve.color % COLORS}{dashed}"
    line, dots = "M" + "L".join(places), "".join(f"M{place}h0" for place in places)
    if curve.style == "points":
        return f'<path class="points {color}{" few" if len(places) < FEW else ""}" d="{dots}"/>'
    if curve.style in ("bars", "band"):
        return f'<path class="{curve.style} {color}" d="{line}Z"/>'
    marks = f'<path class="marks {color}" d="{dots}"/>' if curve.style == "marks" or len(places) == 1 else ""
    return f'<path class="line {color}" d="{line}"/>{marks}'
