"""The values behind a chart, as the text that `charts.js` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mtl_d2.report.palette_of_curves import dash_lengths
from mtl_d2.report.series import Floats, Series, running_average, thinned

MOST = 600  # values of a curve; a longer one is thinned
DIGITS = 5  # that a value keeps


def curve_values(
    series: Sequence[Series],
    errors: Sequence[Floats | None] | None,
    *,
    style: str,
    zero: bool,
    floor: float | None,
) -> str:
    """JSON of an object with the style of a chart and its curves.

    A curve is null where its series is empty; else it has updates ``x`` (or the place of an earlier curve that has the
    same), values ``y``, the updates of gaps ``gaps``, how many values its running average spans, ``span``, its
    ``dashes``, and the half heights of its band, ``errors``, where it has one.

    Args:
        series: one for each curve.
        errors: half heights of their bands, or None.
        style: `smooth`, `line` or `marks`; all of these are as `plot` has them.
        zero: whether the axis is symmetrical about zero.
        floor: where the axis begins.
    """
    curves: list[dict[str, Any] | None] = []
    for place, (s, error) in enumerate(zip(series, errors or [None] * len(series), strict=True)):
        curves.append(_curve(s, error, place, curves) if len(s.values) else None)
    return json.dumps({"style": style, "zero": zero, "floor": floor, "curves": curves}, separators=(",", ":"))


def _curve(s: Series, error: Floats | None, place: int, earlier: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    x, y = thinned(s.updates, s.values, MOST)
    updates = [int(update) for update in x]
    twin = next((i for i, curve in enumerate(earlier) if curve and curve["x"] == updates), None)
    span = running_average(s.values)[1] * len(y) / len(s.values)
    curve: dict[str, Any] = {"x": updates if twin is None else twin, "y": _rounded(y), "span": round(max(span, 1.0), 1)}
    if dash_lengths(place):
        curve["dashes"] = " ".join(f"{length:g}" for length in dash_lengths(place))
    if len(s.gaps):
        curve["gaps"] = [int(update) for update in thinned(s.gaps, s.gaps, MOST)[0]]
    if error is not None:
        curve["errors"] = _rounded(thinned(s.updates, error, MOST)[1])
    return curve


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
