"""Augmentations by a config: one geometry for all labels, no label in padding, draws keyed by the position."""

import re
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
import torchvision.transforms.functional as F
import yaml
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_checks.augmentations import check_augmentations
from mtl_d2.data import MultiTaskMapper
from mtl_d2.data.augmentations import build_augmentations, cuts_polygons
from mtl_d2.data.jitter import AUGMENTATIONS, ColorJitter, PhotometricDistortion, ScaleJitter
from mtl_d2.data.mapper import seeded

from .tiny_bdd100k import HEIGHT, WIDTH, rectangle, write_image, write_png

REPOSITORY = Path(__file__).resolve().parents[2]
CAR = 13
GEOMETRIC = [
    "ResizeScale(0.5, 2.0, 60, 80)",
    "FixedSizeCrop((90, 130))",
    "RandomCrop('relative_range', (0.5, 0.5))",
    "RandomFlip()",
    "RandomRotation((-30, 30))",
    "RandomExtent((0.6, 1.8), (0.2, 0.2))",
    "ResizeShortestEdge((40, 70), 100, 'range')",
    "Resize((50, 70))",
    "ScaleJitter(0.5, 1.5)",
    "ScaleJitter(scales=(1.0, 1.2, 1.5))",
    "RandomApply(RandomRotation((90, 90)), 0.5)",
    "RandomScaleCrop()",
    "RandomCentreZoom((1.5,))",
]
PHOTOMETRIC = [
    "RandomBrightness(0.5, 1.5)",
    "RandomContrast(0.5, 1.5)",
    "RandomSaturation(0.5, 1.5)",
    "RandomLighting(0.7)",
    "ColorJitter(0.4, 0.4, 0.4, 0.1)",
    "PhotometricDistortion()",
]


@pytest.fixture
def record(tmp_path):
    """One bright rectangle, whose pixels are labelled car and all others road, with its box."""
    x1, y1, x2, y2 = rectangle(1)
    write_image(tmp_path / "a.jpg", 1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y1 : y2 + 1, x1 : x2 + 1] = CAR
    write_png(tmp_path / "a.png", mask)
    box = {"bbox": [x1, y1, x2 + 1, y2 + 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2}
    box["segmentation"] = pycocotools.mask.encode(np.asfortranarray((mask == CAR).astype(np.uint8)))
    paths = {"file_name": str(tmp_path / "a.jpg"), "sem_seg_file_name": str(tmp_path / "a.png")}
    return {**paths, "height": HEIGHT, "width": WIDTH, "image_id": "a", "annotations": [box]}


def mapper(cfg, *texts):
    cfg.INPUT.AUGMENTATIONS = texts
    cfg.MTL.TASKS, cfg.INPUT.MASK_FORMAT = ("detection", "instance", "semantic"), "bitmask"
    return MultiTaskMapper(cfg, True)


@pytest.mark.parametrize("text", GEOMETRIC)
def test_boxes_masks_and_label_maps_stay_together(cfg, record, text):
    of_config = mapper(cfg, text)
    seen = 0
    for position in range(6):
        sample = of_config(record, position)
        h, w = sample["image"].shape[1:]
        ys, xs = torch.nonzero(sample.get("sem_seg", torch.zeros(h, w)) == CAR, as_tuple=True)
        if not len(sample.get("instances", ())) or not len(xs):
            continue
        seen += 1
        assert sample["sem_seg"].shape == (h, w)
        expected = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        torch.testing.assert_close(sample["instances"].gt_boxes.tensor[0], expected.float(), rtol=0, atol=2.5)
        bright = sample["image"].float().mean(0)
        assert bright[ys, xs].mean() > bright[sample["sem_seg"] == 0].mean() + 30
    assert seen >= 3


@pytest.mark.parametrize("text", [*GEOMETRIC, *PHOTOMETRIC])
def test_the_same_position_gives_the_same_sample_whatever_ran_before(cfg, record, text):
    first = mapper(cfg, text)
    expected = [first(record, position) for position in (3, 11)]
    np.random.rand(5), torch.rand(5)
    again = mapper(cfg, text)
    for position in (7, 4):
        again(record, position)
    found = [again(record, position) for position in (11, 3)][::-1]
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
        assert torch.equal(one["sem_seg"], other["sem_seg"])


@pytest.mark.parametrize("text", PHOTOMETRIC)
def test_colours_change_pixels_and_no_label(cfg, record, text):
    plain = mapper(cfg, "RandomFlip(0.0)")(record, 0)
    samples = [mapper(cfg, text)(record, position) for position in range(4)]
    assert any(not torch.equal(plain["image"], sample["image"]) for sample in samples)
    for sample in samples:
        assert sample["image"].dtype == torch.uint8
        assert torch.equal(plain["sem_seg"], sample["sem_seg"])
        assert torch.equal(plain["instances"].gt_boxes.tensor, sample["instances"].gt_boxes.tensor)


@pytest.mark.parametrize(
    "text", ["FixedSizeCrop((200, 240))", "RandomRotation((20, 20))", "RandomExtent((1.5, 1.5), (0.0, 0.0))"]
)
@pytest.mark.parametrize("ignored", [255, 19])
def test_padding_has_no_label(cfg, record, text, ignored):
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = ignored
    sample = mapper(cfg, text)(record, 1)
    labels = sample["sem_seg"]
    assert set(labels.unique().tolist()) == {0, CAR, ignored}
    assert (labels != ignored).float().mean() == pytest.approx(HEIGHT * WIDTH / labels.numel(), abs=0.03)
    assert sample["instances"].gt_masks.tensor.sum() == (labels == CAR).sum()


def test_without_a_list_the_augmentations_are_detectron2s(cfg):
    cfg.INPUT.CROP.ENABLED = True
    kinds = [type(one) for one in build_augmentations(cfg, is_train=True)]
    assert kinds == [T.RandomCrop, T.ResizeShortestEdge, T.RandomFlip]
    cfg.INPUT.AUGMENTATIONS = ("RandomFlip()",)
    assert [type(one) for one in build_augmentations(cfg, is_train=False)] == [T.ResizeShortestEdge]


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_jitter_is_torchvisions_in_the_order_of_the_channels(image_format):
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    image = rgb[:, :, ::-1] if image_format == "BGR" else rgb
    with seeded(0, 1):
        changed = ColorJitter(saturation=(0.2, 0.2), image_format=image_format).get_transform(image).apply_image(image)
    expected = F.adjust_saturation(torch.from_numpy(rgb.transpose(2, 0, 1).copy()), 0.2).numpy().transpose(1, 2, 0)
    assert np.array_equal(changed[:, :, ::-1] if image_format == "BGR" else changed, expected)


def test_distortion_changes_each_of_the_four_in_half_of_the_images():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    augmentation = PhotometricDistortion()
    with seeded(0, 2):
        changes = [augmentation.get_transform(image).op.keywords["changes"] for _ in range(400)]
    functions = [function for one in changes for function, _ in one]
    for function in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue):
        assert functions.count(function) == pytest.approx(200, abs=50)


def test_scale_jitter_keeps_the_ratio_and_its_range():
    image = np.zeros((40, 60, 3), np.uint8)
    with seeded(0, 3):
        sizes = [ScaleJitter(0.5, 2.0).get_transform(image) for _ in range(50)]
        steps = {ScaleJitter(scales=(1.0, 1.5)).get_transform(image).new_h for _ in range(20)}
    assert all(20 <= one.new_h <= 80 and abs(one.new_w - 1.5 * one.new_h) <= 1 for one in sizes)
    assert max(one.new_h for one in sizes) > 70
    assert min(one.new_h for one in sizes) < 30
    assert steps == {40, 60}


@pytest.mark.parametrize("place", ["file", "override"])
def test_list_goes_through_file_override_and_stored_config(tmp_path, place):
    texts = ["ResizeScale(0.5, 2.0, target_height=64, target_width=64)", "RandomFlip(0.5)"]
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"INPUT": {"AUGMENTATIONS": texts}} if place == "file" else {"VERSION": 2}))
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(file), [] if place == "file" else ["INPUT.AUGMENTATIONS", str(texts)])
    (tmp_path / "stored.yaml").write_text(cfg.dump())
    again = get_cfg()
    add_mtl_config(again)
    merge_config(again, str(tmp_path / "stored.yaml"), [])
    assert list(again.INPUT.AUGMENTATIONS) == texts
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


def test_class_of_ones_own_is_taken_by_its_name(cfg):
    @AUGMENTATIONS.register()
    class Dark(T.Augmentation):
        def __init__(self, share, image_format):
            super().__init__()
            self.share, self.image_format = share, image_format

        def get_transform(self, image):
            return T.BlendTransform(image * 0, self.share, 1 - self.share)

    try:
        cfg.INPUT.AUGMENTATIONS = ("Dark(0.5)",)
        (dark,) = build_augmentations(cfg, is_train=True)
        assert (dark.share, dark.image_format) == (0.5, "BGR")
        assert list(check_augmentations(cfg)) == []
    finally:
        AUGMENTATIONS._obj_map.pop("Dark")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RandomFlop()", "did you mean RandomFlip"),
        ("RandomFlip(", r"'RandomFlip\(' is not a name with arguments"),
        ("RandomFlip(probability=1)", r"RandomFlip: got an unexpected keyword argument 'probability'.* are \(prob=0.5"),
        ("ResizeScale(0.5)", r"ResizeScale: missing a required argument: 'max_scale'"),
        ("ScaleJitter(2.0, 1.0)", r"ScaleJitter: factors must be > 0, the first <= the second"),
        ("RandomScaleCrop((0.9, 1.2))", r"RandomScaleCrop: scales must be numbers >= 1.*got \(0\.9, 1\.2\)"),
        ("RandomCentreZoom(())", r"RandomCentreZoom: scales must be numbers >= 1"),
        ("ColorJitter(hue=0.7)", "ColorJitter: hue values should be between"),
        ("RandomCrop('relative', (2.0, 2.0))", r"fails on a grey image of \(480, 640\)"),
        ("RandomCrop_CategoryAreaConstraint('relative', (0.5, 0.5), 0.75)", "fails on a grey image"),
        ("RandomCrop('absolute', (0, 0))", r"leaves nothing of an image of \(480, 640\)"),
        ("RandomApply(RandomFlop())", "did you mean RandomFlip"),
    ],
)
def test_augmentation_that_cannot_be_is_said(cfg, text, said):
    cfg.INPUT.AUGMENTATIONS = (text,)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    (line,) = check_augmentations(cfg)
    assert line.startswith("INPUT.AUGMENTATIONS: ")
    assert re.search(said, line)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("text", GEOMETRIC)
def test_images_of_one_channel_keep_it(cfg, record, text):
    cfg.INPUT.FORMAT = "L"
    sample = mapper(cfg, text)(record, 1)
    assert sample["image"].shape[0] == 1
    assert sample["image"].shape[1:] == sample["sem_seg"].shape


def test_the_trial_is_of_the_images_kind(cfg):
    cfg.INPUT.FORMAT, cfg.INPUT.AUGMENTATIONS = "YUV-BT.601", ("RandomExtent((0.5, 1.5), (0.2, 0.2))",)
    (line,) = check_augmentations(cfg)
    assert "fails on a grey image" in line


def test_crop_beside_a_list_is_refused(cfg):
    cfg.INPUT.AUGMENTATIONS, cfg.INPUT.CROP.ENABLED = ("RandomFlip()",), True
    (line,) = check_augmentations(cfg)
    assert "INPUT.AUGMENTATIONS takes its place" in line


def test_a_crop_is_found_however_deep_it_is_applied_at_random(cfg):
    crop = "RandomCrop('relative', (0.5, 0.5))"
    for text, cuts in ((crop, True), (f"RandomApply(RandomApply({crop}))", True), ("RandomApply(RandomFlip())", False)):
        cfg.INPUT.AUGMENTATIONS = (text,)
        assert cuts_polygons(cfg) is cuts


def test_list_that_holds_no_texts_is_refused(cfg):
    cfg.INPUT.AUGMENTATIONS = (1,)
    with pytest.raises(ConfigError, match=r"INPUT\.AUGMENTATIONS must be a list of texts, .* got \(1,\)"):
        check_mtl_config(cfg)


def test_lists_of_the_page_are_right(cfg):
    page = (REPOSITORY / "docs/augmentations.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (line,) = re.findall(r'INPUT\.AUGMENTATIONS "(\[.*?\])"', page)
    for texts in (yaml.safe_load(block)["INPUT"]["AUGMENTATIONS"], yaml.safe_load(line)):
        cfg.INPUT.AUGMENTATIONS = tuple(texts)
        assert list(check_augmentations(cfg)) == []
