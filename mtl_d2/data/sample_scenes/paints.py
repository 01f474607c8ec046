"""Paints: functions of a surface's coordinates in metres that give albedo and emission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.solids import Paint

Color = tuple[float, float, float]  # RGB albedo, 0..1


class Grain:
    """Repeating noise that every paint of a scene draws on."""

    def __init__(self, generator: np.random.Generator, size: int = 128) -> None:
        fine = generator.random((size, size), dtype=np.float32) - 0.5
        soft = sum(np.roll(fine, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)) / 9.0
        self._layers = (fine, np.asarray(soft, dtype=np.float32))
        self._mask = size - 1

    def __call__(self, u: Array, v: Array, per_metre: float, soft: bool = False) -> Array:
        """(N,) values in about -0.5..0.5 at the given cells per metre."""
        layer = self._layers[int(soft)]
        rows = np.floor(v * per_metre).astype(np.int64) & self._mask
        return layer[rows, np.floor(u * per_metre).astype(np.int64) & self._mask]


def plain(color: Color, emission: float = 0.0) -> Paint:
    """One colour everywhere."""
    value = np.array(color, dtype=np.float32)
    return lambda u, v: (value, emission)


def grainy(color: Color, grain: Grain, amount: float, per_metre: float, soft: bool = False) -> Paint:
    """One colour whose brightness varies by up to half of ``amount`` either way."""
    value = np.array(color, dtype=np.float32)

    def paint(u: Array, v: Array) -> tuple[Array, float]:
        return value * (1 + amount * grain(u, v, per_metre, soft))[:, None], 0.0

    return paint


class Patch(NamedTuple):
    """A rectangle (u0, v0, u1, v1) in metres, its colour, and its emission."""

    area: tuple[float, float, float, float]
    color: Color
    emission: float = 0.0


def patched(base: Color, patches: Sequence[Patch]) -> Paint:
    """One colour with rectangles on it; later ones cover earlier ones."""

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        albedo = np.empty((len(u), 3), dtype=np.float32)
        albedo[:] = base
        emission = np.zeros(len(u), dtype=np.float32)
        for (u0, v0, u1, v1), color, light in patches:
            inside = (u >= u0) & (u <= u1) & (v >= v0) & (v <= v1)
            albedo[inside] = color
            emission[inside] = light
        return albedo, emission

    return paint


def facade(wall: Color, window: Color, floor: float, bay: float, lit: float, grain: Grain, seed: int) -> Paint:
    """A wall with rows of windows, some of them lit.

    Args:
        wall: colour of the wall.
        window: colour of the dark panes.
        floor: height of a storey in metres.
        bay: distance of the windows in metres.
        lit: share of the windows with light behind them, 0..1.
        grain: noise of the wall.
        seed: which windows are lit.
    """
    wall_color, dark = np.array(wall, dtype=np.float32), np.array(window, dtype=np.float32)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        albedo = wall_color * (1 + 0.25 * grain(u, v, 3.0) + 0.15 * grain(u, v, 0.4, soft=True))[:, None]
        column, row = np.floor(u / bay), np.floor(v / floor)
        s, t = u / bay - column, v / floor - row
        pane = (s > 0.22) & (s < 0.78) & (t > 0.3) & (t < 0.85)
        shop = (row == 0) & (s > 0.08) & (s < 0.92) & (t > 0.1) & (t < 0.8)
        glass = pane | shop
        chance = (column * 73 + row * 151 + seed * 37) * 0.6180339887
        on = glass & (chance - np.floor(chance) < lit)
        albedo[glass] = dark
        albedo[on] = (0.95, 0.8, 0.45)
        return albedo, on.astype(np.float32) * 0.8

    return paint


def foliage(color: Color, grain: Grain) -> Paint:
    """Leaves: coarse and fine spots of light and dark green."""
    value = np.array(color, dtype=np.float32)

    def paint(u: Array, v: Array) -> tuple[Array, float]:
        spots = 1 + 0.7 * grain(u, v, 9.0) + 0.5 * grain(u, v, 2.0, soft=True)
        return value * spots[:, None], 0.0

    return paint
