"""Label maps are looked at before the training, in training and in test sets."""

import logging
import struct
import zlib

import cv2
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from mtl_d2.data import DataError, check_data
from mtl_d2.data.checks import files, pixels
from mtl_d2.data.images import read_ids
from mtl_d2.data.label_map import LabelMapKeys

from .test_check_data import mistakes
from .tiny_bdd100k import HEIGHT, SEMANTIC, WIDTH, write_png

ZEROS = np.zeros((HEIGHT, WIDTH), np.uint8)


@pytest.fixture(params=["train", "val"])
def split(request):
    return request.param


@pytest.fixture
def path(tiny_root, split):
    """Of the fourth label map of the split."""
    return tiny_root / f"bdd100k/labels/sem_seg/masks/{split}/seg-{split}-3.png"


@pytest.fixture
def warnings(cfg, caplog):
    """Checks the data and gives what was warned of."""

    def check():
        caplog.clear()
        check_data(cfg)
        return [r.message for r in caplog.records if r.levelno == logging.WARNING]

    return check


def grey_png(bits, size):
    """A grey PNG of zeros with fewer than 8 bits, which OpenCV and Pillow cannot write."""
    width, height = size

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + bytes((width * bits + 7) // 8)) * height
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_an_id_that_is_no_class_is_found_in_any_map_looked_at(cfg, path, split):
    write_png(path, ZEROS + 19)
    (line,) = mistakes(cfg)
    assert line.startswith(f"bdd100k_sem_seg_{split}: {path}: holds the ids [19], but MODEL.SEM_SEG_HEAD.NUM_CLASSES")


def test_ids_of_several_maps_are_one_line(cfg, tiny_root):
    for i in (1, 4):
        write_png(tiny_root / f"bdd100k/labels/sem_seg/masks/train/seg-train-{i}.png", ZEROS + 30 + i)
    (line,) = mistakes(cfg)
    assert "seg-train-1.png: holds the ids [31, 34], but" in line
    assert line.endswith("(2 of its 5 label maps hold such ids)")


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (
            np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            "are not one 8-bit channel of class ids, the first is {}, found RGB: ",
        ),
        (ZEROS.astype(np.uint16), "are not one 8-bit channel of class ids, the first is {}, found 16-bit: "),
        (ZEROS[:, :40], "have another size than their image, the first is {}, 40 x 48 and not 80 x 48: "),
        (ZEROS.T.copy(), "have another size than their image, the first is {}, 48 x 80 and not 80 x 48: give"),
    ],
)
def test_maps_that_do_not_fit_by_their_header_are_one_line(cfg, tiny_root, path, pixels, says):
    cv2.imwrite(str(path), pixels)
    (line,) = mistakes(cfg)
    assert f"1 of {SEMANTIC} label maps {says.format(path)}" in line


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_maps_that_cannot_be_opened_are_one_line(cfg, path, content):
    path.write_bytes(content)
    (line,) = mistakes(cfg)
    assert f"1 of {SEMANTIC} label maps cannot be opened, the first is {path}: fetch" in line


def test_a_map_that_is_cut_off_is_one_line(cfg, path):
    path.write_bytes(path.read_bytes()[:90])
    (line,) = mistakes(cfg)
    assert f"cannot read image {path}" in line


@pytest.mark.parametrize(("bits", "factor"), [(2, 85), (4, 17)])
def test_grey_maps_of_few_bits_are_refused_because_pillow_makes_other_ids_of_them(cfg, path, bits, factor):
    path.write_bytes(grey_png(bits, (WIDTH, HEIGHT)))
    (line,) = mistakes(cfg)
    assert f"the first is {path}, whose ids Pillow multiplies by {factor}: write them with 8 bits" in line


def test_maps_of_one_bit_hold_0_and_1(cfg, path):
    Image.fromarray(ZEROS > 0).save(path)
    assert Image.open(path).mode == "1"
    check_data(cfg)


@pytest.mark.parametrize("value", [[255], None, "255"])
def test_an_ignored_id_that_is_no_number_is_one_line(cfg, tiny_root, value):
    metadata = MetadataCatalog.get("bdd100k_sem_seg_train")
    del metadata.ignore_label
    metadata.ignore_label = value
    (line,) = mistakes(cfg)
    assert f"bdd100k_sem_seg_train: `ignore_label` in its metadata must be one whole number, found {value!r}" in line


@pytest.mark.parametrize("table", [bytes(255), list(range(256)), np.arange(256)])
def test_a_table_of_ids_has_256_bytes(path, table):
    with pytest.raises(DataError, match=f"{path}: its `sem_seg_table` must be 256 bytes"):
        read_ids(str(path), table)


def test_jpegs_are_no_label_maps(cfg, path):
    Image.fromarray(ZEROS).save(path, format="JPEG")
    (line,) = mistakes(cfg)
    assert f"are JPEG files, which keep no ids, the first is {path}: write the label maps as PNG" in line


def test_a_class_that_is_written_as_the_ignored_id_is_named(cfg, tiny_root, split, warnings):
    """0 and 255 for background and lane, with 255 ignored."""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    for where in ("train", "val"):
        MetadataCatalog.get(f"bdd100k_sem_seg_{where}").stuff_classes[:] = ["background", "lane"]
        for i in range(SEMANTIC):
            lane = np.eye(HEIGHT, WIDTH, dtype=np.uint8) * (255 if where == split else 1)
            write_png(tiny_root / f"bdd100k/labels/sem_seg/masks/{where}/seg-{where}-{i}.png", lane)
    assert warnings() == [
        f"bdd100k_sem_seg_{split}: 1 of its 2 classes, 'lane' (1), is in none of its 5 label maps, which hold 0, 255 "
        "(ignored): where another value stands for a class, write the class's id or map it with `sem_seg_table`"
    ]


def test_maps_without_a_label_are_said_and_a_set_without_any_is_refused(cfg, tiny_root, warnings):
    folder = tiny_root / "bdd100k/labels/sem_seg/masks/val"
    write_png(folder / "seg-val-1.png", ZEROS + 255)
    assert any(
        f"1 of its 5 label maps hold nothing but the ignored id 255, the first is {folder / 'seg-val-1.png'}" in line
        for line in warnings()
    )
    for i in range(SEMANTIC):
        write_png(folder / f"seg-val-{i}.png", ZEROS + 255)
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_sem_seg_val: its 5 label maps hold nothing but the ignored id 255: correct them")


def test_labels_are_not_looked_at_where_no_task_needs_them(cfg, path):
    path.write_bytes(b"")
    cfg.MTL.TASKS = ("detection",)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("bdd100k_det_train",), ("bdd100k_det_val", "bdd100k_sem_seg_val")
    check_data(cfg)


def with_orientation(path, orientation):
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)


def test_a_turned_image_with_a_map_that_is_not_turned_is_refused(cfg, tiny_root, split):
    image = tiny_root / f"bdd100k/images/10k/{split}/seg-{split}-3.jpg"
    with_orientation(image, 6)
    lines = mistakes(cfg)
    assert any(f"seg-{split}-3.png, 80 x 48 and not 48 x 80: EXIF turns the image, but not" in one for one in lines)
    assert any(
        f"{image}, 48 x 80 and not 80 x 48: EXIF turns the images, which their records do not" in one for one in lines
    )


def test_an_image_that_stands_on_its_head_is_said(cfg, tiny_root, split, warnings):
    image = tiny_root / f"bdd100k/images/10k/{split}/seg-{split}-3.jpg"
    with_orientation(image, 3)
    (line,) = [line for line in warnings() if "EXIF" in line]
    assert f"bdd100k_sem_seg_{split}: 1 of 5 images are turned or mirrored by EXIF, the first is {image}, but" in line


def test_headers_that_there_is_no_time_for_are_counted(cfg, tiny_root, warnings, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 2)
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(files.time, "monotonic", lambda: next(clock))
    assert any("in 30 s the headers of 2 of 5 label maps were looked at: what is wrong" in line for line in warnings())


@pytest.mark.parametrize(("rare", "looked_at"), [(0, 4), (1, 10)])
def test_more_maps_are_looked_at_while_a_class_is_missing(tmp_path, monkeypatch, rare, looked_at):
    monkeypatch.setattr(pixels, "SAMPLE", 4)
    records = [{"sem_seg_file_name": str(tmp_path / f"{i}.png")} for i in range(10)]
    for record in records:
        cv2.imwrite(record["sem_seg_file_name"], np.eye(3, dtype=np.uint8))
    meaning = pixels.Meaning(["a", "b", "c"][: 2 + rare], 2 + rare, 255, "KEY")
    assert len(pixels.count_pixels(records, LabelMapKeys(), meaning).counts) == looked_at
    assert len(pixels.count_pixels(records, LabelMapKeys(), meaning, seconds=-1).counts) == 4


def test_a_class_that_is_ignored_is_never_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SAMPLE", 1)
    records = [{"sem_seg_file_name": str(tmp_path / f"{i}.png")} for i in range(2)]
    for record in records:
        cv2.imwrite(record["sem_seg_file_name"], np.eye(3, dtype=np.uint8))
    meaning = pixels.Meaning(["void", "road"], 2, ignored=0, key="KEY")
    found = pixels.count_pixels(records, LabelMapKeys(), meaning)
    assert len(found.counts) == 1  # others would not show it either
    (line,) = pixels.unseen_classes(found, meaning)
    assert line.startswith("1 of its 2 classes, 'void' (0, the ignored id), is in none of the 1 of its 2 label maps")


def test_maps_that_cannot_be_read_for_one_reason_are_one_line(tmp_path):
    records = [{"sem_seg_file_name": str(tmp_path / f"{i}.png"), "sem_seg_table": b"short"} for i in range(5)]
    for record in records:
        Image.fromarray(ZEROS).save(record["sem_seg_file_name"])
    meaning = pixels.Meaning(("road",), 1, 255, "KEY")
    (line,) = pixels.unknown_classes(pixels.count_pixels(records, LabelMapKeys(), meaning), meaning)
    assert line.startswith(f"{tmp_path}/0.png: its `sem_seg_table` must be 256 bytes")
    assert line.endswith("(the same of 5 of those looked at)")


def test_lane_masks_read_as_class_ids_are_said(path, split, warnings):
    lane = np.full((HEIGHT, WIDTH), 255, np.uint8)
    lane[:, :2] = 6  # a category
    for other in path.parent.iterdir():
        write_png(other, lane)
    (line,) = [line for line in warnings() if "lane masks" in line]
    assert line.startswith(f"bdd100k_sem_seg_{split}: its {SEMANTIC} label maps hold the values [6, 255], as BDD100K's")
