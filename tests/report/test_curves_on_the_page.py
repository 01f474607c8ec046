"""Curves: colours that everybody tells apart, values behind them, and what the page's script makes of these."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from synthetic_run import rows

from mtl_d2.report.chart_values import MOST
from mtl_d2.report.charts import plot
from mtl_d2.report.page import CHARTS, STYLE, WATCH, write_report
from mtl_d2.report.palette_of_curves import COLORS, DASHES, dash_lengths
from mtl_d2.report.series import Series

NODE = shutil.which("node")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
# Linear sRGB as seen without the cones for red and for green: Viénot, Brettel & Mollon, "Digital video colourmaps for
# checking the legibility of displays by dichromats", 1999.
WITHOUT_CONES = {
    "all cones": np.eye(3),
    "no red": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "no green": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


def linear(color):
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(color):
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def of_page(dark):
    """The colours of curves, and of the paper behind them."""
    sheet = STYLE.read_text()
    part = sheet.split("prefers-color-scheme:dark")[1] if dark else sheet.split("@media")[0]
    paper = re.search(r"--paper:(#\w+)", part)[1]
    return re.findall(r"--c\d:(#\w{6})", part)[: len(COLORS)], "#ffffff" if paper == "#fff" else paper


def values_of(svg):
    return json.loads(html.unescape(re.search(r'data-curves="([^"]*)"', svg)[1]))


def test_the_style_sheet_has_the_colours_of_the_drawing():
    assert of_page(dark=False)[0] == list(COLORS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_curves_stand_out_from_the_paper(dark):
    colors, paper = of_page(dark)
    for color in colors:
        dim, bright = sorted((luminance(color), luminance(paper)))
        assert (bright + 0.05) / (dim + 0.05) >= 3, color  # WCAG 2.1, 1.4.11


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("eye", list(WITHOUT_CONES))
def test_two_curves_of_like_colours_for_any_eye_have_other_dashes(eye, dark):
    seen = [lab(WITHOUT_CONES[eye] @ linear(color)) for color in of_page(dark)[0]]
    for i, j in itertools.combinations(range(2 * len(COLORS)), 2):
        far = np.linalg.norm(seen[i % len(COLORS)] - seen[j % len(COLORS)]) >= 15
        assert far or dash_lengths(i) != dash_lengths(j), (i, j)


def test_neighbours_differ_in_their_dashes():
    places = range(3 * len(COLORS))
    assert all(dash_lengths(i) != dash_lengths(i + 1) for i in places)
    assert DASHES[0] == ()


def test_values_behind_a_chart_are_the_logged_ones():
    shared = np.arange(0.0, 40.0, 20.0)
    series = [
        Series("a", shared, np.array([1.23456789, 2.0]), gaps=np.array([10.0])),
        Series("b", np.empty(0), np.empty(0)),
        Series("c", shared, np.array([3.0, 4.0])),
    ]
    values = values_of(plot(series, title="t", floor=0.0, errors=[None, None, np.array([0.5, 0.25])]))
    assert values["floor"] == 0
    assert values["style"] == "smooth"
    first, second, third = values["curves"]
    assert first == {"x": [0, 20], "y": [1.2346, 2.0], "span": 3, "gaps": [10]}
    assert second is None
    assert third["x"] == 0  # as the first one
    assert third["errors"] == [0.5, 0.25]
    assert third["dashes"]


def test_a_long_curve_keeps_its_ends_and_the_width_of_its_average():
    updates = np.arange(10_000.0)
    (curve,) = values_of(plot([Series("a", updates, updates)], title="t"))["curves"]
    assert len(curve["x"]) == MOST
    assert (curve["x"][0], curve["x"][-1]) == (0, 9999)
    assert curve["span"] == 100 * MOST / 10_000


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("script", [*CHARTS, WATCH], ids=lambda path: path.stem)
def test_scripts_can_be_read(script):
    subprocess.run([str(NODE), "--check", str(script)], check=True)


@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
def test_in_a_browser_charts_are_drawn_again_and_legends_are_switches(write_run, tmp_path_factory):
    page = write_report(write_run(rows(30)))
    profile = tmp_path_factory.mktemp("profile")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    drawn = done.stdout.split("<script>")[0]
    assert '<form class="bar">' in drawn
    assert drawn.count('<g class="cursor">') == page.read_text().count(' data-curves="')
    assert 'aria-pressed="true"' in drawn
    assert "NaN" not in drawn
