"""NYUv2's classes: 40 (Gupta et al., CVPR 2013), and the 13 that they are gathered in (Couprie et al., ICLR 2013)."""

CLASSES_40 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat"),
    *("clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box"),
    *("whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag"),
    *("other structure", "other furniture", "other prop"),
)
CLASSES_13 = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall"),
    "window",
)
# Of each of the 40 classes, the number from 1 of the one of 13 that it belongs to (class13Mapping.mat).
OF_13 = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)
IGNORED = 255


def table_of_40() -> bytes:
    """Class ids of maps in which 0 is no label and 1 to 40 are the classes; 255 is no label either."""
    return bytes([IGNORED, *range(len(CLASSES_40))]).ljust(256, bytes([IGNORED]))


def table_of_41() -> bytes:
    """The same, where 0 is a class of its own, the first."""
    return bytes(range(1 + len(CLASSES_40))).ljust(256, bytes([IGNORED]))
