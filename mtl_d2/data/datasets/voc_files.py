"""Where the files of PASCAL VOC and SBD are: folders of a year, lists of images, and the objects of one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from detectron2.structures import BoxMode

from mtl_d2.data.errors import DataError
from mtl_d2.data.lists import read_lines
from mtl_d2.data.missing_labels import require_files
from mtl_d2.data.roots import root_advice

THING_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
STUFF_CLASSES = ("background", *THING_CLASSES)
CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Below the root: as detectron2 has it, and as the archives unpack.
YEAR_FOLDERS = ("VOC{year}", "VOCdevkit/VOC{year}")
# Below the root: as torchvision leaves SBD, and as its archive unpacks.
SBD_FOLDERS = ("sbd", "benchmark_RELEASE/dataset")
AUGMENTED = "SegmentationClassAug"
AUGMENTED_LISTS = ("train_aug", "trainaug")  # names that the list of 10,582 images goes by
SBD_ARRAY = "GTcls.Segmentation"


@dataclass(frozen=True)
class Photo:
    """An image of one year.

    Attributes:
        base: the year's folder.
        stem: the name of its files.
    """

    base: Path
    stem: str

    @property
    def image_id(self) -> str:
        """The same in all years: 2012 calls ``2007_000032`` what is ``000032`` in 2007."""
        return self.stem if "_" in self.stem else f"{self.base.name.removeprefix('VOC')}_{self.stem}"

    @property
    def image(self) -> Path:
        """Its pixels."""
        return self.base / "JPEGImages" / f"{self.stem}.jpg"

    @property
    def objects(self) -> Path:
        """Its boxes."""
        return self.base / "Annotations" / f"{self.stem}.xml"


def colors(number: int) -> list[list[int]]:
    """RGB of the first ids in VOC's palette: bits 0, 1, 2 of an id are the highest bits of red, green, blue, and so on.

    Args:
        number: of ids.
    """
    return [
        [sum((i >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)]
        for i in range(number)
    ]


def year_folder(root: str, year: int) -> Path:
    """The folder of a year, which is there.

    Raises:
        DataError: it is not.
    """
    folders = [Path(root, folder.format(year=year)) for folder in YEAR_FOLDERS]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(f"neither folder {folders[0]} nor {folders[1]} found {root_advice(f'VOC{year} or VOCdevkit')}")


def listed(base: Path, name: str) -> list[Photo]:
    """The images of a list.

    Args:
        base: of a year.
        name: of the list below ``ImageSets``, such as ``Main/trainval``.

    Raises:
        DataError: it is not there, or empty.
    """
    return [Photo(base, stem) for stem in read_list(base / "ImageSets" / f"{name}.txt")]


def read_list(path: Path) -> list[str]:
    """Names of images, less folders and endings: some lists name their files by path, or a label beside each.

    Raises:
        DataError: it is not there, or empty.
    """
    lines = read_lines(path, "unpack the archive that it comes in, see docs/voc_sun_nyu_depth.md")
    return list(dict.fromkeys(Path(line.split()[0]).stem for line in lines))


def label_maps(root: str, name: str) -> dict[str, str]:
    """Label maps by ``image_id``.

    Args:
        root: the folder that holds the years'.
        name: ``train`` or ``val`` of VOC2012, or ``train_aug``: what SBD adds to ``train``, less ``val``.

    Raises:
        DataError: a list or labels are missing; of labels how many, and the first.
    """
    base = year_folder(root, 2012)
    if name != "train_aug":
        stems = [photo.stem for photo in listed(base, f"Segmentation/{name}")]
        maps = {stem: base / "SegmentationClass" / f"{stem}.png" for stem in stems}
        require_files(maps.values(), "unpack VOCtrainval_11-May-2012 there")
        return {stem: str(path) for stem, path in maps.items()}
    if (base / AUGMENTED).is_dir():
        stems = _augmented(root, base)
        maps = {stem: base / AUGMENTED / f"{stem}.png" for stem in stems}
        require_files(maps.values(), f"unpack {AUGMENTED} there, or remove that folder to read SBD's own files")
        return {stem: str(path) for stem, path in maps.items()}
    return _labels_of_sbd(root, base)


def _augmented(root: str, base: Path) -> list[str]:
    lists = [base / "ImageSets" / "Segmentation" / f"{name}.txt" for name in AUGMENTED_LISTS]
    given = next((path for path in lists if path.is_file()), None)
    if given is not None:
        return read_list(given)
    sbd = _sbd_folder(root)
    if sbd is None:
        raise DataError(f"list {lists[0]} not found, nor the lists of SBD: put it there")
    train = read_list(base / "ImageSets" / "Segmentation" / "train.txt")
    val = set(read_list(base / "ImageSets" / "Segmentation" / "val.txt"))
    every = {*train, *read_list(sbd / "train.txt"), *read_list(sbd / "val.txt")}
    return sorted(every - val)


def _labels_of_sbd(root: str, base: Path) -> dict[str, str]:
    """VOC's own label where it has one: that of SBD lacks the ignored border of objects."""
    sbd = _sbd_folder(root)
    if sbd is None:
        folders = " or ".join(str(Path(root, folder)) for folder in SBD_FOLDERS)
        raise DataError(f"neither folder {base / AUGMENTED} nor SBD in {folders} found: unpack one of them there")
    own = label_maps(root, "train")
    others = {stem: sbd / "cls" / f"{stem}.mat" for stem in _augmented(root, base) if stem not in own}
    require_files(others.values(), "unpack SBD's benchmark.tgz there")
    return own | {stem: f"{path}::{SBD_ARRAY}" for stem, path in others.items()}


def _sbd_folder(root: str) -> Path | None:
    return next((Path(root, f) for f in SBD_FOLDERS if Path(root, f, "train.txt").is_file()), None)


def read_objects(path: Path) -> dict[str, Any]:
    """What an XML file says of its image: ``annotations``, and ``height`` and ``width`` where it knows them.

    Corners are pixels, counted from 1, that belong to the box: the box of xmin = 1, xmax = 3 is 3 pixels wide and
    begins at 0, as detectron2 has it. What is marked ``difficult`` VOC does not evaluate: it is a crowd region.

    Raises:
        DataError: no valid XML, an unknown class, or an object without a box.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not valid XML ({error}): the file is damaged or cut off, fetch it again") from error
    size = [_number(tree, f"size/{side}") for side in ("height", "width")]
    known = all(number is not None and number >= 1 for number in size)
    annotations = [_annotation(path, i, thing) for i, thing in enumerate(tree.findall("object"))]
    sides = {key: int(number) for key, number in zip(("height", "width"), size, strict=True) if known and number}
    return {**sides, "annotations": annotations}


def _annotation(path: Path, index: int, thing: ElementTree.Element) -> dict[str, Any]:
    name = thing.findtext("name", "").strip()
    if name not in THING_CLASSES:
        raise DataError(
            f"{path}: object {index} is of class {name!r}, none of VOC's 20: correct the file, or leave it out"
        )
    corners = [_number(thing, f"bndbox/{corner}") for corner in CORNERS]  # those of its parts lie deeper
    if None in corners:
        missing = CORNERS[corners.index(None)]
        raise DataError(f"{path}: object {index}, {name!r}, has no number {missing} in its `bndbox`: correct the file")
    left, top, right, bottom = (float(corner) for corner in corners if corner is not None)
    return {
        "bbox": [left - 1, top - 1, right, bottom],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": THING_CLASSES.index(name),
        "iscrowd": int(_number(thing, "difficult") == 1),
    }


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        return float(element.findtext(path, ""))
    except ValueError:
        return None
