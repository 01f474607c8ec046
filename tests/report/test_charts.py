"""Charts: what is drawn where, whatever the values."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest

from mtl_d2.report.charts import angle_histogram, plot
from mtl_d2.report.palette_of_curves import COLORS
from mtl_d2.report.series import Series

LEFT, RIGHT, TOP, BOTTOM = 48.0, 392.0, 16.1, 190.9  # of the axes, in a drawing of 400 x 230


def curve(*values):
    """A series with a value at each of the updates 0, 1, ..."""
    return Series("a", np.arange(float(len(values))), np.array(values, dtype=float))


def drawn(svg, kind):
    """The coordinates (K, 2) of each path of a kind, such as `line` or `points`."""
    paths = re.findall(rf'<g class="{kind}"><path d="([^"]*)"', svg)
    return [np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), dtype=float) for path in paths]


def ticks(svg):
    return re.findall(r">([^<>]+)</text>", svg)


@pytest.mark.parametrize("values", [[0.0], [1e29, -1e29], [5.0, 5.0, 5.0], [1e-30, 2e-30], []])
@pytest.mark.parametrize("options", [{}, {"zero": True}, {"floor": 0.0}])
def test_any_finite_values_can_be_drawn(values, options):
    svg = plot([curve(*values)], title="t", style="line", **options)
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>\n")
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_curve_runs_from_corner_to_corner():
    (line,) = drawn(plot([curve(0, 1)], title="t", style="line", floor=0.0), "line")
    np.testing.assert_allclose(line[0], [LEFT, BOTTOM])
    np.testing.assert_allclose(line[1], [RIGHT, BOTTOM - (BOTTOM - TOP) / 1.04], atol=0.2)


def test_a_series_is_light_points_and_their_average_and_an_outlier_lies_on_the_border():
    svg = plot([curve(*[1.0] * 100, 1e6, *[1.0] * 99)], title="t")
    (points,), (line,) = drawn(svg, "points"), drawn(svg, "line")
    assert len(points) == 2 * 200  # a dot is a line without length
    assert points[:, 1].min() == TOP
    assert len(line) == 200


def test_a_line_has_gaps_where_logged_values_were_left_out():
    series = Series("a", np.array([0.0, 1.0, 4.0, 6.0]), np.ones(4), gaps=np.array([2.0, 3.0, 9.0]))
    (path,) = re.findall(r'<g class="line"><path d="([^"]*)"', plot([series], title="t"))
    assert [part.count("L") for part in path.split("M")[1:]] == [1, 1]


def test_one_value_is_a_dot_that_can_be_seen():
    svg = plot([Series("a", np.array([5.0]), np.array([3.0]))], title="t")
    np.testing.assert_allclose(drawn(svg, "marks")[0], [[220, 103.5]] * 2, atol=0.1)
    assert "5" in ticks(svg)
    assert "5.1" not in ticks(svg)  # there is no update 5.1


@pytest.mark.parametrize("count", [401, 100_000])
def test_long_series_are_thinned(count):
    svg = plot([curve(*np.sin(np.arange(count)))], title="t")
    assert len(svg) < 30_000
    (line,) = drawn(svg, "line")
    np.testing.assert_allclose(line[[0, -1], 0], [LEFT, RIGHT])


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([0.0, 1.0], {"0.0", "0.4", "1.0"}),
        ([0.0, 2e-6], {"1e−6", "2.0"}),
        ([0.0, 3e7], {"1e7", "3"}),
        ([1.77512, 1.77514], {"1e−5+1.7751", "2.0", "4.0"}),
    ],
)
def test_small_and_large_numbers_have_short_ticks_that_differ(y, expected):
    svg = plot([Series("a", np.array([0.0, 30_000.0]), np.array(y))], title="t", style="line")
    assert expected | {"0", "20k", "update"} <= set(ticks(svg))
    assert max(map(len, ticks(svg))) <= 11


def test_more_series_than_colours_start_over_in_other_dashes():
    svg = plot([curve(0, 1)] * (len(COLORS) + 1), title="t", style="line")
    lines = re.findall(r'<g class="line"><path [^>]*style="([^"]*)"', svg)
    assert [f"var(--c{color}" in line for color, line in enumerate(lines[:-1])] == [True] * len(COLORS)
    assert "var(--c0" in lines[-1]
    assert "dasharray" not in lines[0]
    assert "dasharray" in lines[-1]


def test_a_series_that_is_empty_leaves_its_colour_out_and_a_band_is_as_high_as_its_errors():
    svg = plot([curve(), curve(1, 2)], title="t", style="line", errors=[None, np.array([1.0, 0.0])], floor=0.0)
    (line,), (band,) = drawn(svg, "line"), drawn(svg, "band")
    assert "var(--c1)" in svg
    assert "var(--c0)" not in svg
    start = band[band[:, 0] == LEFT, 1]
    assert start.max() == BOTTOM  # 1 - 1
    assert start.min() == pytest.approx(line[1, 1], abs=0.2)  # 1 + 1


def test_every_colour_is_the_pages():
    svg = plot([curve(0, 1, 2)], title="t", zero=True)
    assert not re.search(r"(fill|stroke): (?!none|var\(--(soft|rule|c0)\))", svg)


def test_the_same_chart_is_the_same_text_without_a_date():
    one, other = (plot([curve(0, 1, 2)], title="t") for _ in range(2))
    assert one == other
    assert "dc:date" not in one
    assert "http" not in one


def test_what_a_user_has_set_for_matplotlib_changes_nothing():
    expected = plot([curve(0, 1, 2)], title="t")
    with matplotlib.rc_context({"text.usetex": True, "figure.constrained_layout.use": True, "axes.grid": False}):
        assert plot([curve(0, 1, 2)], title="t") == expected
        assert matplotlib.rcParams["text.usetex"]


def test_ids_of_two_charts_differ_and_titles_do_not_become_markup():
    one, other = (plot([curve(0, 1)], title=title, style="marks") for title in ("<one> $x_1$", "two"))
    assert not set(re.findall(r'id="([^"]*)"', one)) & set(re.findall(r'id="([^"]*)"', other))
    assert "<title>&lt;one&gt; $x_1$</title>" in one


def test_angles_between_gradients_are_shown_in_degrees():
    svg = angle_histogram([np.array([0.5, -0.5, -0.5]), np.empty(0)], title="angles", filled=True)
    assert {"60", "120", "degrees"} <= set(ticks(svg))
    assert "0.5" not in ticks(svg)
    (bars,), (zero,) = drawn(svg, "bars"), drawn(svg, "zero")  # nothing of the empty one
    assert zero[:, 0].tolist() == [220, 220]  # 90 degrees
    shares = sorted({round(float(BOTTOM - y) / (BOTTOM - bars[:, 1].min()) * 200 / 3) for y in bars[:, 1]})
    assert shares == [0, 33, 67]  # percent
