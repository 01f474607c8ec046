"""Writes a few images in the layouts of PASCAL VOC 2007 and 2012 and of SBD, with one object each."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

HEIGHT, WIDTH = 40, 60
PERSON, BOTTLE = 15, 5  # ids in the label maps
BOX = (11, 5, 30, 36)  # xmin, ymin, xmax, ymax as the XML has them: pixels counted from 1
# 2007_000003 of 2012 is 000003 of 2007, and so on.
TRAINVAL_07, TEST_07 = ("000001", "000003", "000004"), ("000002", "000006")
TRAINVAL_12 = ("2008_000001", "2008_000002", "2008_000005")
SEG_TRAIN, SEG_VAL = ("2007_000003", "2008_000001"), ("2007_000004", "2008_000002")
SBD = ("2007_000002", "2008_000005")  # what it adds to SEG_TRAIN: one image is in the test set of 2007
TRAIN_AUG = tuple(sorted((*SEG_TRAIN, *SBD)))


def write_tiny_voc(root: Path, augmented: bool = True) -> None:
    """Both years below ``root``.

    Args:
        root: the folder of ``VOC2007`` and ``VOC2012``.
        augmented: whether SBD comes as ``SegmentationClassAug``; else as its own files in ``sbd``.
    """
    old, new = root / "VOC2007", root / "VOC2012"
    for stem in (*TRAINVAL_07, *TEST_07):
        write_image(old, stem)
    for stem in sorted({*TRAINVAL_12, *TRAIN_AUG, *SEG_VAL}):
        write_image(new, stem)
    write_list(old / "ImageSets/Main/trainval.txt", TRAINVAL_07)
    write_list(old / "ImageSets/Main/test.txt", TEST_07)
    write_list(new / "ImageSets/Main/trainval.txt", TRAINVAL_12)
    write_list(new / "ImageSets/Segmentation/train.txt", SEG_TRAIN)
    write_list(new / "ImageSets/Segmentation/val.txt", SEG_VAL)
    for stem in (*SEG_TRAIN, *SEG_VAL):
        write_map(new / "SegmentationClass" / f"{stem}.png")
    if augmented:
        write_list(new / "ImageSets/Segmentation/train_aug.txt", TRAIN_AUG)
        for stem in (*TRAIN_AUG, *SEG_VAL):
            write_map(new / "SegmentationClassAug" / f"{stem}.png")
        return
    write_list(root / "sbd/train.txt", (*SEG_TRAIN, SBD[0]))
    write_list(root / "sbd/val.txt", (SEG_VAL[0], SBD[1]))
    for stem in SBD:
        write_sbd(root / "sbd/cls" / f"{stem}.mat")


def write_list(path: Path, stems: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(stems) + "\n")


def write_image(base: Path, stem: str) -> None:
    """The image, and an XML file with a person."""
    path = base / "JPEGImages" / f"{stem}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((HEIGHT, WIDTH, 3), int(stem[-6:]) * 20, np.uint8)
    pixels[4:36, 10:30] = 200
    assert cv2.imwrite(str(path), pixels)
    write_xml(base / "Annotations" / f"{stem}.xml", [thing("person")])


def thing(name: str, box: Iterable[object] = BOX, extra: str = "<difficult>0</difficult>") -> str:
    corners = "".join(
        f"<{corner}>{v}</{corner}>" for corner, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def write_xml(path: Path, things: Iterable[str], size: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>" if size is None else size
    path.write_text(f"<annotation>{size}{''.join(things)}</annotation>")


def label_map() -> np.ndarray:
    """A person within a border of pixels without a label."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[3:37, 9:31] = 255
    ids[4:36, 10:30] = PERSON
    return ids


def write_map(path: Path, ids: np.ndarray | None = None) -> None:
    """As a palette image, which is how VOC is published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label_map() if ids is None else ids, "P")
    image.putpalette([v for i in range(256) for v in (i, 255 - i, i)])
    image.save(path)


def write_sbd(path: Path) -> None:
    """SBD knows no border."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.where(label_map() == 255, 0, label_map()).astype(np.uint8)
    savemat(path, {"GTcls": {"Boundaries": np.zeros((20, 1)), "Segmentation": ids, "CategoriesPresent": [[PERSON]]}})
