"""Pictures of depth and normals."""

import numpy as np
import pytest

from mtl_d2.report.dense_pictures import depth_caption, depth_picture, depth_range, normals_picture


def brightness(picture):
    return picture.astype(int).sum(-1)


def test_near_is_bright_and_what_has_no_label_is_black():
    depth = np.array([[1.0, 2, 4, 8, 0, np.nan, -1]])
    light = brightness(depth_picture(depth, (1, 8)))[0]
    assert (np.diff(light[:4]) < 0).all()
    assert light[4:].tolist() == [0, 0, 0]


def test_the_span_leaves_out_the_ends_and_what_has_no_label():
    depth = np.append(np.linspace(1, 2, 1000), [0, np.nan, -4, 1e6])[None]
    nearest, farthest = depth_range(depth)
    assert nearest == pytest.approx(1.02, abs=0.01)
    assert farthest == pytest.approx(1.98, abs=0.01)
    assert depth_range(np.zeros((3, 3))) == (0, 1)
    assert depth_picture(np.zeros((3, 3)), (0, 1)).max() == 0


def test_a_flat_wall_has_a_picture():
    depth = np.full((4, 4), 3.0)
    assert len(np.unique(depth_picture(depth, depth_range(depth)).reshape(-1, 3), axis=0)) == 1


def test_the_caption_has_range_and_unit():
    assert depth_caption(np.ones((2, 2)), (0.514, 80), "metres") == "0.514 (bright) to 80 metres (dark)"
    for nothing in (-1, 0, np.nan, np.inf):  # as a network may predict that has hardly been trained
        assert depth_caption(np.full((2, 2), nothing), (0, 1), "metres") == "no depth above 0"


def test_normals_are_colours():
    normals = np.array([[[0, 0, -1], [1, 0, 0], [0, 0, 0], [np.nan, 0, 0]]])
    assert normals_picture(normals)[0].tolist() == [[128, 128, 0], [255, 128, 128], [0, 0, 0], [0, 0, 0]]
