"""Pixels under augmentation: those that are detectron2's to the last bit, and those within two levels of them."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from PIL import Image

from mtl_d2.data import MultiTaskMapper
from mtl_d2.data.pixels import Seen, Smoothed

from .tiny_bdd100k import HEIGHT, WIDTH, write_image

NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
VIEWS = {
    "whole": NOISE,
    "channels reversed": NOISE[..., ::-1],
    "part": NOISE[5:77, 3:101],
    "mirrored": NOISE[:, ::-1],
    "upside down": NOISE[::-1],
    "read only": np.frombuffer(NOISE.tobytes(), np.uint8).reshape(NOISE.shape),
}


def shown(kind, image, transforms):
    """(C, H, W) after the transforms."""
    seen = kind(image)
    T.AugmentationList(transforms)(seen)
    return seen.planes()


def by_detectron2(image, transforms):
    seen = T.AugInput(image)
    T.AugmentationList(transforms)(seen)
    return np.ascontiguousarray(seen.image.reshape(*seen.image.shape[:2], -1).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(90, 120), (89, 120), (60, 80), (11, 13), (200, 311), (90, 40), (1, 1)])
@pytest.mark.parametrize("view", VIEWS)
def test_resized_pixels_are_within_two_levels_of_pillows(size, view):
    image = VIEWS[view]
    resize = [T.ResizeTransform(*image.shape[:2], *size)]
    levels = np.abs(shown(Smoothed, image, resize).numpy().astype(int) - by_detectron2(image, resize))
    assert levels.max() <= 2
    assert levels.mean() < 0.05


@pytest.mark.parametrize("kind", [Seen, Smoothed])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [T.HFlipTransform(1)],
        [T.HFlipTransform(1), T.VFlipTransform(1)],
        [T.HFlipTransform(1), T.HFlipTransform(1)],
        [T.TransformList([T.CropTransform(2, 3, 30, 20), T.HFlipTransform(30)])],
        [T.PadTransform(1, 2, 3, 4, pad_value=128)],
        [T.NoOpTransform(), T.ColorTransform(lambda pixels: 255 - pixels)],
    ],
    ids=lambda transforms: "-".join(type(one).__name__ for one in transforms),
)
def test_what_is_not_resized_has_detectron2s_pixels(kind, view, transforms):
    image = VIEWS[view]
    planes = shown(kind, image, transforms)
    assert planes.is_contiguous()
    assert np.array_equal(planes.numpy(), by_detectron2(image, transforms))


@pytest.mark.parametrize("image", [NOISE[..., :1], NOISE[..., 0], NOISE.astype(np.float32)])
def test_other_images_than_colours_of_8_bits_go_the_same_way(image):
    transforms = [T.HFlipTransform(120), T.CropTransform(2, 3, 30, 20)]
    assert np.array_equal(shown(Smoothed, image, transforms).numpy(), by_detectron2(image, transforms))


@pytest.mark.parametrize("interp", [Image.NEAREST, Image.BICUBIC])
def test_other_filters_are_pillows_own(interp):
    resize = [T.ResizeTransform(90, 120, 61, 77, interp)]
    assert np.array_equal(shown(Smoothed, NOISE, resize).numpy(), by_detectron2(NOISE, resize))


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_weighs_colours_as_pillow_has_it(channels):
    image, resize = np.dstack([NOISE, NOISE[::-1]])[..., :channels], [T.ResizeTransform(90, 120, 61, 77)]
    assert np.array_equal(shown(Smoothed, image, resize).numpy(), by_detectron2(image, resize))


@pytest.mark.parametrize("shape", [(90, 1, 3), (1, 1, 3), (90, 1, 1)])
def test_images_of_one_column_can_be_mirrored_and_resized(shape):
    image, mirror = np.ascontiguousarray(NOISE[: shape[0], :1, : shape[2]]), T.HFlipTransform(1)
    assert np.array_equal(shown(Smoothed, image, [mirror]).numpy(), image.transpose(2, 0, 1))
    resize = T.ResizeTransform(*shape[:2], 33, 20)
    assert torch.equal(shown(Smoothed, image, [mirror, resize]), shown(Smoothed, image, [resize]))


def test_a_transform_of_another_image_is_refused():
    with pytest.raises(AssertionError):
        shown(Smoothed, NOISE, [T.ResizeTransform(91, 120, 61, 77)])


@pytest.fixture
def record(tmp_path):
    write_image(tmp_path / "a.jpg", 1)
    return {"file_name": str(tmp_path / "a.jpg"), "height": HEIGHT, "width": WIDTH, "annotations": []}


def test_images_of_tests_have_detectron2s_pixels(cfg, record):
    cfg.INPUT.MIN_SIZE_TEST = 33
    assert torch.equal(MultiTaskMapper(cfg, False)(record)["image"], DatasetMapper(cfg, False)(record)["image"])


@pytest.mark.parametrize("crop", [False, True])
def test_the_library_changes_pixels_by_two_levels_and_no_label(cfg, tmp_path, crop):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    Image.fromarray(NOISE[..., 0] % 19).save(tmp_path / "ids.png")
    box = {"bbox": [5.25, 7.5, 80.0, 60.75], "bbox_mode": 0, "category_id": 1}
    paths = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "ids.png")}
    record = {**paths, "height": 90, "width": 120, "annotations": [box]}
    cfg.INPUT.MIN_SIZE_TRAIN = (57, 64)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop, "relative", [0.8, 0.8]
    mappers = []
    for library in ("opencv", "pillow"):
        cfg.INPUT.IMAGE_LIBRARY_TRAIN = library
        mappers.append(MultiTaskMapper(cfg, True))
    for position in range(6):
        one, other = (mapper(record, position) for mapper in mappers)
        assert (one["image"].int() - other["image"].int()).abs().max() <= 2
        assert torch.equal(one["sem_seg"], other["sem_seg"])
        assert torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
