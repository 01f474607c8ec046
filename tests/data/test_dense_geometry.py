"""Depth and normals through augmentations, against a slanted plane and a ball drawn anew for the new camera."""

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T
from fvcore.transforms.transform import BlendTransform, ScaleTransform, Transform

from mtl_d2.data.dense_geometry import affine_of, same_nearest, transform_depth, transform_ids, transform_normals
from mtl_d2.data.errors import DataError

H, W, FOCAL = 60, 80, 90.0
LENS = np.array([[FOCAL, 0, 35.0], [0, FOCAL, 28.0], [0, 0, 1]])  # from rays to points of the image

CASES = {
    "nothing": [T.NoOpTransform()],
    "flip": [T.HFlipTransform(W)],
    "upside down": [T.VFlipTransform(H)],
    "larger": [T.ResizeTransform(H, W, 90, 120)],
    "smaller": [T.ResizeTransform(H, W, 45, 60)],
    "stretched": [ScaleTransform(H, W, 100, 70, "bilinear")],
    "crop": [T.CropTransform(11, 7, 40, 30)],
    "pad": [T.PadTransform(3, 4, 5, 6)],
    "turned": [T.RotationTransform(H, W, 30)],
    "turned within its frame": [T.RotationTransform(H, W, -110, expand=False, center=(37, 28))],
    "extent": [T.ExtentTransform((-5, 6, 60.5, 52), (50, 70))],
    "all": [
        T.ResizeTransform(H, W, 90, 120),
        T.CropTransform(10, 5, 100, 70),
        T.HFlipTransform(100),
        BlendTransform(0.0, 0.5, 0.5),
        T.RotationTransform(70, 100, 15),
        T.PadTransform(0, 0, 9, 0),
    ],
}
each_case = pytest.mark.parametrize("case", CASES)


def rays(lens, size):
    """(H, W, 3) through the middle of each pixel."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([x, y, np.ones(size)], -1) @ np.linalg.inv(lens).T


def followed(case):
    """The lens after the transforms, the size of the image, and what turned or mirrored the camera (3, 3)."""
    lens, size, frame = LENS, (H, W), np.eye(3)
    for transform in CASES[case]:
        affine = affine_of(transform, size)
        if affine is not None:
            turn = np.eye(3)
            turn[:2, :2] = affine.turn
            # The image of the turned scene: points move by the affine map, rays by the turn.
            lens = np.vstack([affine.matrix, [0, 0, 1]]) @ lens @ turn.T
            size, frame = affine.size, turn @ frame
    return lens, size, frame


NORMAL = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])
DISTANCE = -4.0  # normal . point


def plane(lens, size, normal):
    """Inverse depth (H, W), which is linear in the image, so that bilinear resampling is exact."""
    return (rays(lens, size) @ normal / DISTANCE).astype(np.float32)


def ball(lens, size):
    """Normals (H, W, 3) of a ball that fills the view."""
    directions = rays(lens, size)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    center = np.array([0, 0, 3.0])
    along = directions @ center
    distance = along - np.sqrt(along**2 - 9 + 2.5**2)
    return ((directions * distance[..., None] - center) / 2.5).astype(np.float32)


@each_case
def test_points_move_as_detectron2_moves_them(case):
    transforms, points = T.TransformList(CASES[case]), np.random.default_rng(0).uniform(0, 50, (9, 2))
    expected, size, moved = transforms.apply_coords(points.copy()), (H, W), points
    for transform in CASES[case]:
        affine = affine_of(transform, size)
        if affine is not None:
            moved, size = moved @ affine.matrix[:, :2].T + affine.matrix[:, 2], affine.size
    np.testing.assert_allclose(moved, expected, atol=1e-4)
    assert size == transforms.apply_image(np.zeros((H, W, 3), np.uint8)).shape[:2]


@each_case
def test_a_slanted_plane_is_the_plane_that_the_new_camera_sees(case):
    lens, size, frame = followed(case)
    found = transform_depth(plane(LENS, (H, W), NORMAL), T.TransformList(CASES[case]), bilinear=True)
    seen = _inside(found)
    assert found.shape == size
    assert seen.mean() > 0.25
    np.testing.assert_allclose(found[seen], plane(lens, size, frame @ NORMAL)[seen], rtol=2e-3)
    normals = transform_normals(np.tile(NORMAL, (H, W, 1)).astype(np.float32), T.TransformList(CASES[case]))
    np.testing.assert_allclose(normals[seen], np.tile(frame @ NORMAL, (seen.sum(), 1)), atol=1e-5)


def _inside(found):
    """Labelled pixels whose neighbours are: at the border there is less to take a mean of."""
    labelled = np.pad(found > 0, 1)
    return np.all([np.roll(labelled, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)[1:-1, 1:-1]


@each_case
def test_normals_of_a_ball_are_those_that_the_new_camera_sees(case):
    lens, size, frame = followed(case)
    near = np.zeros((H, W), bool)
    near[18:42, 25:55] = True  # where the ball is
    normals = np.where(near[..., None], np.nan_to_num(ball(LENS, (H, W))), 0)
    found = transform_normals(normals, T.TransformList(CASES[case]))
    seen = _inside(np.linalg.norm(found, axis=-1))
    expected = ball(lens @ frame, size)[seen] @ frame.T  # the scene as it was, its normals turned
    angle = np.degrees(np.arccos(np.clip((found[seen] * expected).sum(-1), -1, 1)))
    assert seen.sum() > 150
    assert angle.max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(found[seen], axis=-1), 1, atol=1e-6)


@each_case
@pytest.mark.parametrize("bilinear", [False, True])
def test_pixels_without_a_label_are_never_mixed_in(case, bilinear):
    holes = np.random.default_rng(0).random((H, W)) < 0.4
    depth, transforms = np.where(holes, 0, 5).astype(np.float32), T.TransformList(CASES[case])
    found = transform_depth(depth, transforms, bilinear=bilinear)
    labelled = found != 0
    np.testing.assert_allclose(found[labelled], 5, rtol=1e-5)
    assert 0.15 < labelled.mean() < 0.7
    expected = transform_depth(depth, transforms)
    if case != "all":  # where two resamplings follow each other, the first closes holes for neither
        assert np.array_equal(labelled, expected != 0)
    flat = np.where(holes[..., None], 0, np.array([0.6, 0, -0.8])).astype(np.float32)
    lengths = np.linalg.norm(transform_normals(flat, transforms), axis=-1)
    assert np.abs(lengths[lengths > 0] - 1).max() < 1e-6


def test_a_corner_without_image_has_no_label():
    found = transform_depth(
        np.ones((H, W), np.float32), T.TransformList([T.RotationTransform(H, W, 45)]), bilinear=True
    )
    assert found[0, 0] == found[-1, 0] == 0
    assert found[found.shape[0] // 2, found.shape[1] // 2] == pytest.approx(1)
    padded = transform_depth(np.ones((4, 4), np.float32), T.TransformList([T.PadTransform(0, 0, 2, 1, pad_value=9)]))
    assert (padded[4:] == 0).all()
    assert (padded[:, 4:] == 0).all()


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize(
    "transform",
    [T.HFlipTransform(W), T.VFlipTransform(H), T.CropTransform(11, 7, 40, 30), T.PadTransform(3, 4, 5, 6)],
    ids=lambda transform: type(transform).__name__,
)
def test_pixels_that_only_move_are_detectron2s_own(transform, bilinear):
    depth = np.random.default_rng(0).random((H, W)).astype(np.float32)
    found = transform_depth(depth, T.TransformList([transform]), bilinear=bilinear)
    assert np.array_equal(found, transform.apply_image(depth))


@pytest.mark.parametrize("size", [(30, 40), (120, 160), (97, 203)])
def test_the_nearest_pixel_is_that_of_label_maps(size):
    ids = np.random.default_rng(0).integers(1, 255, (H, W)).astype(np.uint8)
    resize = T.ResizeTransform(H, W, *size)
    found = transform_depth(ids.astype(np.float32), T.TransformList([resize]))
    assert np.array_equal(found, resize.apply_segmentation(ids))


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1), ("divide", 1 / 1.5), ("multiply", 1.5)])
def test_depth_is_scaled_by_the_magnification(scaling, factor):
    # MTAN's augmentation: a part of 1 / 1.5 of the image, at the size of the whole.
    transforms = T.TransformList(
        [T.CropTransform(12, 3, 60, 40), T.ResizeTransform(40, 60, 60, 90), T.HFlipTransform(90)]
    )
    found = transform_depth(np.full((H, W), 3, np.float32), transforms, scaling=scaling)
    np.testing.assert_allclose(found, 3 * factor, rtol=1e-6)


def test_a_plane_that_is_nearer_is_the_plane_magnified():
    # Depth divided by s: what a camera with the same lens sees of a scene s times as near, and so s times as large.
    resize = T.TransformList([T.ResizeTransform(H, W, 2 * H, 2 * W)])
    depth = 1 / plane(LENS, (H, W), NORMAL)
    found = transform_depth(depth, resize, bilinear=True, scaling="divide")
    lens = np.diag([2.0, 2.0, 1.0]) @ LENS
    seen = _inside(found)
    np.testing.assert_allclose(found[seen], (1 / plane(lens, (2 * H, 2 * W), NORMAL))[seen] / 2, rtol=2e-3)


class Shear(Transform):
    """A transform of one's own."""

    affine, output_size = [[1, 0.5, 0], [0, 1, 0]], (H, W)

    def apply_image(self, img):
        return img

    def apply_coords(self, coords):
        return coords


def test_transforms_of_ones_own_say_their_matrix_or_are_refused():
    depth = np.ones((H, W), np.float32)
    found = transform_depth(depth, T.TransformList([Shear()]))
    assert found[0, 0] == found[1, 3] == 1
    assert found[40, 10] == 0
    unknown = type("Waves", (Shear,), {"affine": property(lambda self: self.absent)})()
    with pytest.raises(DataError, match="what Waves does to depth and normals is not known: give it the attributes"):
        transform_depth(depth, T.TransformList([unknown]))


def test_colours_change_nothing():
    depth = np.random.default_rng(0).random((H, W)).astype(np.float32)
    colours = [BlendTransform(0.0, 0.5, 0.5), T.ColorTransform(lambda x: x), T.PILColorTransform(lambda x: x)]
    assert np.array_equal(transform_depth(depth, T.TransformList(colours), scaling="divide"), depth)


IDS = np.random.default_rng(1).choice([0, 1, 7, 254, 255], (H, W)).astype(np.uint8)


@pytest.mark.parametrize(
    "transforms",
    [
        [T.NoOpTransform()],
        [T.HFlipTransform(W), T.VFlipTransform(H)],
        [T.CropTransform(11, 7, 40, 30), BlendTransform(0.0, 0.5, 0.5)],
        *([T.ResizeTransform(H, W, *size)] for size in [(30, 40), (90, 120), (97, 203), (41, 333), (60, 1)]),
        [ScaleTransform(H, W, 100, 70, "bilinear")],
    ],
    ids=lambda transforms: "-".join(f"{type(t).__name__}{getattr(t, 'new_h', '')}" for t in transforms),
)
def test_ids_are_detectron2s_own_bit_for_bit_where_it_is_right(transforms):
    transforms = T.TransformList(transforms)
    found = transform_ids(IDS, transforms, 255)
    assert found.dtype == np.uint8
    assert np.array_equal(found, transforms.apply_segmentation(IDS))


def test_opencv_resizes_ids_only_where_it_takes_the_pixels_that_detectron2_takes(monkeypatch):
    monkeypatch.setattr(cv2, "INTER_NEAREST_EXACT", cv2.INTER_NEAREST)  # which takes the upper left of each square
    same_nearest.cache_clear()
    assert not same_nearest(H, 2 * H // 3)
    for size in [(2 * H // 3, W), (H, 2 * W // 3), (2 * H, 2 * W), (97, 203)]:
        transforms = T.TransformList([T.ResizeTransform(H, W, *size), T.HFlipTransform(size[1])])
        assert np.array_equal(transform_ids(IDS, transforms, 255), transforms.apply_segmentation(IDS)), size
    same_nearest.cache_clear()


@each_case
@pytest.mark.parametrize("ignored", [255, 9])
def test_ids_are_never_blended_and_what_shows_no_image_is_ignored(case, ignored):
    transforms = T.TransformList(CASES[case])
    shown = transform_depth(np.ones((H, W), np.float32), transforms) > 0
    found = transform_ids(IDS, transforms, ignored)
    assert found.shape == shown.shape
    assert set(np.unique(found[shown])) == set(np.unique(IDS))
    assert (found[~shown] == ignored).all()


def test_a_pad_value_for_ids_is_not_taken_for_a_class_either():
    found = transform_ids(IDS, T.TransformList([T.PadTransform(3, 0, 0, 0, seg_pad_value=7)]), 255)
    assert (found[:, :3] == 255).all()
    assert np.array_equal(found[:, 3:], IDS)


class Shifted(Transform):
    """One of one's own: to the right by two pixels, where it puts a value of its own."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def apply_image(self, image):
        return np.pad(image, ((0, 0), (2, 0)), constant_values=self.value)[:, :W]

    def apply_coords(self, coords):
        return np.add(coords, [2, 0])


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("told", [True, False])
def test_what_a_transform_of_ones_own_pads_is_ignored_too(value, told):
    transform = Shifted(value)
    if told:
        transform.affine, transform.output_size = [[1, 0, 2], [0, 1, 0]], (H, W)
    found = transform_ids(IDS, T.TransformList([transform]), 255)
    assert (found[:, :2] == 255).all()
    assert np.array_equal(found[:, 2:], IDS[:, :-2])
