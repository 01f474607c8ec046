"""What the page says of the colours of maps."""

import re

import numpy as np
import pytest

from mtl_d2.report.color_keys import color_keys
from mtl_d2.report.dense_pictures import NORMALS_COLORS, depth_picture, normals_picture


def test_a_bar_has_the_colours_of_the_picture_and_round_numbers_at_their_places():
    html = color_keys({"depth": {"span": [1.0, 100.0], "unit": "metres"}})
    colors = re.findall(r"#[0-9a-f]{6}", html)
    ends = depth_picture(np.array([[1.0, 10.0, 100.0]]), (1, 100))[0]
    assert [colors[0], colors[len(colors) // 2], colors[-1]] == ["#{:02x}{:02x}{:02x}".format(*c) for c in ends]
    places = dict(re.findall(r"left:([\d.]+)%\">(\d+)<", html))
    assert places["0.0"] == "1"
    assert places["50.0"] == "10"  # of the logarithm
    assert places["100.0"] == "100"
    assert "depth in metres" in html


@pytest.mark.parametrize("span", [(0.5, 80.0), (3.1, 3.2), (1e-3, 1e5)])
def test_every_bar_has_at_least_two_numbers_within_it(span):
    places = [float(p) for p in re.findall(r"left:([-\d.]+)%", color_keys({"depth": {"span": span}}))]
    assert 2 <= len(places) <= 9
    assert all(-0.5 <= place <= 100.5 for place in places)


def test_named_colours_of_normals_are_those_of_the_picture():
    vectors = {
        "to the right": (1, 0, 0), "to the left": (-1, 0, 0), "down": (0, 1, 0), "up": (0, -1, 0),
        "away from us": (0, 0, 1), "towards us": (0, 0, -1),
    }  # fmt: skip
    for name, vector in vectors.items():
        drawn = normals_picture(np.array([[vector]], dtype=float))[0, 0].astype(int)
        named = [int(NORMALS_COLORS[name][i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(drawn - named).max() <= 1, name


@pytest.mark.parametrize(
    "keys",
    [None, [], {}, {"a": 1}, {"a": {"span": [0, 1]}}, {"a": {"span": [2, 1]}}, {"a": {"span": "x"}},
     {"a": {"colors": {"<b>": "url(outside)"}}}, {"a": {"span": [1, float("inf")]}}],
    ids=str,
)  # fmt: skip
def test_keys_that_cannot_be_read_show_nothing(keys):
    assert color_keys(keys) == ""
