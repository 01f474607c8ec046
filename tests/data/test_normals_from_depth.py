"""Normals computed from depth: exact on planes, none where there is no depth, near to published ones."""

import cv2
import numpy as np
import pytest

from mtl_d2.data.datasets.nyuv2 import CAMERA
from mtl_d2.data.dense_files import read_normals
from mtl_d2.data.dense_maps import NormalsMaps
from mtl_d2.data.errors import DataError
from mtl_d2.data.normals_from_depth import Intrinsics, normals_from_depth

SIZE = (40, 60)
HERE = Intrinsics(50.0, 70.0, 31.3, 18.9)


def plane(normal, distance):
    """Depth of n . X = -distance."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    rays = np.stack([(u - HERE.cx) / HERE.fx, (v - HERE.cy) / HERE.fy, np.ones(SIZE)], -1)
    return -distance / (rays @ np.asarray(normal))


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.6, 0, -0.8), (-0.36, 0.48, -0.8), (0, -0.28, -0.96)])
@pytest.mark.parametrize("distance", [0.5, 3.0, 5000.0])
@pytest.mark.parametrize("window", [3, 9])
def test_planes_are_exact_in_any_unit(normal, distance, window):
    found = normals_from_depth(plane(normal, distance), HERE, window)
    inside = found[1:-1, 1:-1] if window == 3 else found[3:-3, 3:-3]
    np.testing.assert_allclose(inside, np.broadcast_to(normal, inside.shape), atol=1e-5)


def test_where_depth_is_missing_there_is_no_normal_and_around_it_it_is_exact():
    depth = plane((0.6, 0, -0.8), 3.0)
    depth[10:12, 20:23] = 0
    depth[30:, :] = 0
    found = normals_from_depth(depth, HERE, 9)
    assert (found[10:12, 20:23] == 0).all()
    assert (found[30:] == 0).all()
    np.testing.assert_allclose(found[9, 20:23], [[0.6, 0, -0.8]] * 3, atol=1e-5)
    assert (normals_from_depth(np.zeros(SIZE), HERE) == 0).all()


def test_the_same_two_planes_far_from_their_edge():
    left, right = plane((0.6, 0, -0.8), 3.0), plane((-0.6, 0, -0.8), 3.0)
    found = normals_from_depth(np.concatenate([left[:, :30], right[:, 30:]], 1), HERE, 9)
    np.testing.assert_allclose(found[20, 20], [0.6, 0, -0.8], atol=1e-5)
    np.testing.assert_allclose(found[20, 40], [-0.6, 0, -0.8], atol=1e-5)


def test_a_file_of_depth_is_read_as_normals_where_the_camera_is_given(tmp_path):
    np.save(tmp_path / "a.npy", np.rint(1000 * plane((0.6, 0, -0.8), 3.0)).astype(np.uint16))
    record = {"normals_file_name": str(tmp_path / "a.npy"), "normals_depth_encoding": "millimetres"}
    found, odd = NormalsMaps().read(record, {"normals_intrinsics": tuple(HERE)})
    assert odd == 0
    np.testing.assert_allclose(found[20, 30], [0.6, 0, -0.8], atol=1e-3)
    for wrong in ((1, 2), (0.0, 50, 20, 10), (-50, 50, 20, 10), ("50", 50, 20, 10), (50, 50, float("nan"), 10), 50):
        with pytest.raises(
            DataError, match="`normals_intrinsics` must be fx, fy, cx, cy in pixels, the first two above"
        ):
            NormalsMaps().read(record, {"normals_intrinsics": wrong})


@pytest.mark.data
def test_normals_of_a_real_depth_map_are_near_the_published_ones(real_data):
    nyu = real_data / "nyuv2_mini"
    depth = cv2.imread(str(nyu / "depth_mm" / "0433.png"), cv2.IMREAD_UNCHANGED) / 1000
    published = read_normals(str(nyu / "normal" / "0433.png"), axes="+x +z -y").values
    found = normals_from_depth(depth, Intrinsics(*CAMERA))
    both = (found != 0).any(-1) & (published != 0).any(-1)
    angles = np.degrees(np.arccos(np.clip((found * published).sum(-1)[both], -1, 1)))
    assert both.mean() > 0.6
    assert np.median(angles) < 3
