"""What the colours of a map mean: a bar with numbers and unit, or a list of colours with words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib
import numpy as np

from mtl_d2.report.dense_pictures import COLORS

STOPS = 9  # colours that a bar names; the browser mixes those between
NICE = (1, 2, 5)  # numbers beside a bar, times a power of ten
COLOR = re.compile(r"^#[0-9a-f]{6}$")


def color_keys(keys: Any) -> str:
    """HTML of the keys of a picture's maps; empty where there is none, or none that can be read.

    Args:
        keys: by task, ``{"span": (least, most), "unit": text}`` for a bar of the logarithm, bright at the least, and
            ``{"colors": {words: "#rrggbb"}}`` for a list.
    """
    given = keys if isinstance(keys, Mapping) else {}
    shown = [_key(str(task), key) for task, key in given.items() if isinstance(key, Mapping)]
    return f'<div class="keys">{"".join(shown)}</div>' if any(shown) else ""


def _key(task: str, key: Mapping[str, Any]) -> str:
    span, colors = key.get("span"), key.get("colors")
    if isinstance(colors, Mapping):
        return colors_in_words(colors, task)
    match span:
        case [int() | float() as least, int() | float() as most] if 0 < least < most < math.inf:
            return _bar(task, float(least), float(most), str(key.get("unit", "")))
    return ""


def colors_in_words(colors: Mapping[Any, Any], head: str = "") -> str:
    """A legend of named colours, ``#rrggbb``; others are left out."""
    names = "".join(
        f'<span><i style="background:{color}"></i>{escape(str(name))}</span>'
        for name, color in colors.items()
        if COLOR.match(str(color))
    )
    title = f"<span>{escape(head)}:</span>" if head else ""
    return f'<div class="legend">{title}{names}</div>' if names else ""


def _bar(task: str, least: float, most: float, unit: str) -> str:
    shades = matplotlib.colormaps[COLORS](np.linspace(1, 0, STOPS), bytes=True)[:, :3]
    gradient = ",".join("#{:02x}{:02x}{:02x}".format(*map(int, shade)) for shade in shades)
    reach = math.log(most / least)
    numbers = "".join(
        f'<span style="left:{100 * math.log(value / least) / reach:.1f}%">{value:g}</span>'
        for value in _numbers(least, most)
    )
    words = escape(f"{task} in {unit}" if unit else task)
    label = escape(f"{task} from {least:.3g} (bright) to {most:.3g} {unit} (dark)")
    return (
        f'<div class="colorbar" role="img" aria-label="{label}">{words}'
        f'<i style="background:linear-gradient(90deg,{gradient})"></i><div>{numbers}</div></div>'
    )


def _numbers(least: float, most: float) -> list[float]:
    """Round numbers within a span; its ends where there are fewer than two."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    values = [factor * 10.0**power for power in powers for factor in NICE]
    inside = [value for value in values if least <= value <= most]
    if len(inside) > 7:
        inside = [value for value in inside if f"{value:e}".startswith("1.")]
    return inside if len(inside) > 1 else [float(f"{least:.3g}"), float(f"{most:.3g}")]
