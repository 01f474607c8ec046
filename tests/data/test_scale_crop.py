"""The papers' scale-crop and zoom against their formulas, written again in torch, and values worked out by hand."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from torch.nn import functional as F

from mtl_d2.data.augmentations import cuts_polygons
from mtl_d2.data.dense_geometry import transform_depth, transform_ids, transform_normals
from mtl_d2.data.dense_resampling import Affine, resample
from mtl_d2.data.magnify import MagnifyTransform
from mtl_d2.data.mapper import seeded
from mtl_d2.data.scale_crop import RandomCentreZoom, RandomScaleCrop

H, W = 24, 36  # 1.2 and 1.5 divide them


def transforms_of(augmentation, size=(H, W), position=0):
    with seeded(0, position):
        return T.TransformList([augmentation.get_transform(np.zeros((*size, 3), np.uint8))])


def window_of(transforms):
    crop = transforms.transforms[0]
    return slice(crop.y0, crop.y0 + crop.h), slice(crop.x0, crop.x0 + crop.w)


def test_values_worked_out_by_hand():
    # The middle two rows and columns of four, each twice as large: middles at -.25, .25, .75, 1.25 of the window.
    transforms = transforms_of(RandomCentreZoom((2,)), size=(4, 4))
    image = np.tile(np.array([7, 0, 100, 7], np.uint8)[:, None], (4, 1, 3))
    assert transforms.apply_image(image)[2].tolist() == [[0] * 3, [25] * 3, [75] * 3, [100] * 3]
    ids = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert transform_ids(ids, transforms, 255).tolist() == [[5, 5, 6, 6]] * 2 + [[9, 9, 10, 10]] * 2
    depth = transform_depth(ids.astype(np.float32), transforms, scaling="divide")
    assert depth.tolist() == [[2.5, 2.5, 3, 3]] * 2 + [[4.5, 4.5, 5, 5]] * 2


@pytest.mark.parametrize("scale", [1.2, 1.5])
@pytest.mark.parametrize("kind", [RandomScaleCrop, RandomCentreZoom])
def test_every_label_is_that_of_the_published_formula_at_the_middles_of_pixels(kind, scale):
    rng = np.random.default_rng(0)
    image = rng.random((H, W, 3)).astype(np.float32)
    ids = rng.integers(0, 13, (H, W)).astype(np.uint8)
    depth = rng.random((H, W)).astype(np.float32) + 1
    normals = rng.normal(size=(H, W, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    transforms = transforms_of(kind((scale,)))
    window = window_of(transforms)

    def resized(values, mode, **options):
        pixels = torch.from_numpy(values[window]).float().reshape(1, window[0].stop - window[0].start, -1, 3)
        return F.interpolate(pixels.permute(0, 3, 1, 2), size=(H, W), mode=mode, **options)[0].permute(1, 2, 0)

    assert ids[window].shape == (round(H / scale), round(W / scale))
    expected = resized(image, "bilinear", align_corners=False)
    np.testing.assert_allclose(transforms.apply_image(image), expected, atol=1e-5)
    expected = F.normalize(resized(normals, "bilinear", align_corners=False), dim=-1)
    np.testing.assert_allclose(transform_normals(normals, transforms), expected, atol=1e-5)
    expected = resized(np.repeat(ids[..., None], 3, -1), "nearest-exact")[..., 0]
    assert np.array_equal(transform_ids(ids, transforms, 255), expected)
    expected = resized(np.repeat(depth[..., None], 3, -1), "nearest-exact")[..., 0] / scale
    np.testing.assert_allclose(transform_depth(depth, transforms, scaling="divide"), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.2, 1.5])
def test_mtans_corners_are_half_a_pixel_away_at_most(scale):
    columns = np.tile(np.arange(W, dtype=np.float32), (H, 1))  # each pixel's own place
    transforms = transforms_of(RandomScaleCrop((scale,)))
    found = transforms.apply_image(columns)
    window = torch.from_numpy(columns[window_of(transforms)])[None, None]
    published = F.interpolate(window, size=(H, W), mode="bilinear", align_corners=True)[0, 0].numpy()
    inside = slice(2, -2)  # where nothing is repeated beyond the edge
    assert 0.02 < np.abs(found - published)[:, inside].max() < 0.5


@pytest.mark.parametrize("size", [(288, 384), (128, 256), (97, 203)])
@pytest.mark.parametrize("scale", [1.0, 1.2, 1.5])
@pytest.mark.parametrize(("scaling", "sign"), [("divide", -1), ("multiply", 1), ("none", 0)])
def test_depth_is_scaled_by_s(size, scale, scaling, sign):
    transforms = transforms_of(RandomScaleCrop((scale,)), size)
    factor = transform_depth(np.ones(size, np.float32), transforms, scaling=scaling)[0, 0]
    exact = all(side / scale == round(side / scale) for side in size)
    assert factor == pytest.approx(scale**sign, rel=1e-6 if exact else 0.01)


def test_each_scale_and_each_place_is_as_likely_as_the_others():
    scales, places = [], []
    for position in range(600):
        transforms = transforms_of(RandomScaleCrop((1.0, 2.0, 1.5)), size=(4, 6), position=position).transforms
        scales.append(4 / transforms[0].h if len(transforms) == 2 else 1.0)
        if scales[-1] == 2:
            places.append((transforms[0].y0, transforms[0].x0))
    assert [scales.count(s) for s in (1.0, 2.0, 4 / 3)] == pytest.approx([200] * 3, abs=45)
    assert {places.count(place) for place in np.ndindex(3, 4)} <= set(range(6, 32))
    assert len(set(places)) == 12


def test_a_zoom_keeps_the_centre():
    rng = np.random.default_rng(0)
    half = rng.integers(0, 256, (H, W // 2, 3)).astype(np.uint8)
    image = np.concatenate([half, half[:, ::-1]], 1)
    zoomed = transforms_of(RandomCentreZoom((1.5,))).apply_image(image)
    assert zoomed.shape == image.shape
    assert np.array_equal(zoomed, zoomed[:, ::-1])
    assert not np.array_equal(zoomed, image)


@pytest.mark.parametrize("size", [(24, 36), (29, 36), (37, 90), (60, 61)])
@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=["HW", "HW1", "HW3"])
def test_magnified_images_are_detectron2s_within_one_level(size, channels):
    image = np.random.default_rng(0).integers(0, 256, (H, W, *channels)).astype(np.uint8)
    ours, theirs = MagnifyTransform(H, W, *size), T.ResizeTransform(H, W, *size)
    found, expected = ours.apply_image(image), theirs.apply_image(image)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    if channels != (1,):
        rows, columns = (((np.arange(a) + 0.5) * b / a) % 1 > 1e-6 for a, b in zip(size, (H, W), strict=True))
        sure = np.ix_(rows, columns)  # not between two pixels, where Pillow's rounding errors decide
        assert np.array_equal(ours.apply_segmentation(image)[sure], theirs.apply_segmentation(image)[sure])
    halves = image.astype(np.float64) / 2
    np.testing.assert_allclose(ours.apply_image(halves), theirs.apply_image(halves))


@pytest.mark.parametrize("size", [(48, 72), (12, 18), (31, 77)])
def test_resizing_with_holes_is_what_a_grid_of_places_gives(size):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(H, W, 3)).astype(np.float32) * (rng.random((H, W, 1)) > 0.4)
    scale = np.array([[size[1] / W, 0, 0], [0, size[0] / H, 0]])
    by_place = resample(np.pad(values, ((0, 1), (0, 1), (0, 0))), Affine(scale, size), bilinear=True)
    found = resample(values, Affine(scale, size), bilinear=True)
    np.testing.assert_allclose(found, by_place, atol=1e-2)  # places are nudged by a thousandth of a pixel
    assert np.array_equal(found.any(-1), by_place.any(-1))


def test_polygons_are_cut(cfg):
    cfg.INPUT.AUGMENTATIONS = ("RandomScaleCrop()",)
    assert cuts_polygons(cfg)


@pytest.mark.parametrize("scales", [1.5, (), (0.5,), (1.0, "a"), (1.0, float("nan")), (float("inf"),), "1.5"])
def test_scales_that_are_none_are_one_line(scales):
    with pytest.raises(ValueError, match=r"scales must be numbers >= 1 in brackets, such as \(1.0, 1.2, 1.5\), got"):
        RandomScaleCrop(scales)
