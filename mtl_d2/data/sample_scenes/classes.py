"""The classes of the scenes, and what the published data sets call them."""

from __future__ import annotations

from typing import NamedTuple

IGNORE = 255


class SemanticClass(NamedTuple):
    """A class of Cityscapes: its train id is its place in ``SEMANTIC``.

    Attributes:
        name: Cityscapes' name.
        label_id: the id in ``*_labelIds.png``.
        countable: whether Cityscapes tells its instances apart in ``*_instanceIds.png``.
        color: RGB, 0..255, of the contact sheet and of Cityscapes' own pictures.
    """

    name: str
    label_id: int
    countable: bool
    color: tuple[int, int, int]


SEMANTIC = (
    SemanticClass("road", 7, False, (128, 64, 128)),
    SemanticClass("sidewalk", 8, False, (244, 35, 232)),
    SemanticClass("building", 11, False, (70, 70, 70)),
    SemanticClass("wall", 12, False, (102, 102, 156)),
    SemanticClass("fence", 13, False, (190, 153, 153)),
    SemanticClass("pole", 17, False, (153, 153, 153)),
    SemanticClass("traffic light", 19, False, (250, 170, 30)),
    SemanticClass("traffic sign", 20, False, (220, 220, 0)),
    SemanticClass("vegetation", 21, False, (107, 142, 35)),
    SemanticClass("terrain", 22, False, (152, 251, 152)),
    SemanticClass("sky", 23, False, (70, 130, 180)),
    SemanticClass("person", 24, True, (220, 20, 60)),
    SemanticClass("rider", 25, True, (255, 0, 0)),
    SemanticClass("car", 26, True, (0, 0, 142)),
    SemanticClass("truck", 27, True, (0, 0, 70)),
    SemanticClass("bus", 28, True, (0, 60, 100)),
    SemanticClass("train", 31, True, (0, 80, 100)),
    SemanticClass("motorcycle", 32, True, (0, 0, 230)),
    SemanticClass("bicycle", 33, True, (119, 11, 32)),
)
TRAIN_ID = {c.name: i for i, c in enumerate(SEMANTIC)}
# What has no class (a bin at the kerb) is ignored in training; Cityscapes' name and id for it.
STATIC_NAME, STATIC_LABEL_ID = "static", 4

# BDD100K's ten detection categories, in its own order.
DETECTION = (
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
)
# BDD100K names people otherwise than Cityscapes; the other nine names are the same.
SEMANTIC_OF_DETECTION = {name: TRAIN_ID["person" if name == "pedestrian" else name] for name in DETECTION}


def semantic_name(train_id: int) -> str:
    """Cityscapes' name of a train id, ``static`` of the ignored one."""
    return STATIC_NAME if train_id == IGNORE else SEMANTIC[train_id].name
