"""Captions of pictures."""

import numpy as np
import pytest

from mtl_d2.report.canvas import Canvas
from mtl_d2.report.palette import Palette


@pytest.mark.parametrize("width", [60, 160, 500])
@pytest.mark.parametrize("caption", ["depth: 1 to 2 metres", "normals: red: to the right, green: down, blue: away"])
def test_a_caption_ends_within_the_picture(caption, width):
    white = np.full((30, width, 3), 255, np.uint8)
    canvas = Canvas(white, Palette(()))
    canvas.add_panel(caption, white)
    columns = np.flatnonzero((canvas.picture().pixels < 128).any((0, 2)))
    assert len(columns) > min(width, 300) / 4
    assert columns.max() < canvas.picture().pixels.shape[1] - 2
