"""Cityscapes' 34 labels as 7 categories, of which MTAN's task of 7 classes is made; the eighth, void, is no label."""

CATEGORY_COLORS = {
    "flat": (128, 64, 128),
    "construction": (70, 70, 70),
    "object": (153, 153, 153),
    "nature": (107, 142, 35),
    "sky": (70, 130, 180),
    "human": (220, 20, 60),
    "vehicle": (0, 0, 142),
}
CATEGORIES = tuple(CATEGORY_COLORS)
# First and last label id of each category, in their order; the labels that are not evaluated belong to it too.
_IDS = ((7, 10), (11, 16), (17, 20), (21, 22), (23, 23), (24, 25), (26, 33))
IGNORED = 255


def category_table() -> bytes:
    """The category of each label id, ``IGNORED`` of those of void."""
    table = bytearray([IGNORED]) * 256
    for category, (first, last) in enumerate(_IDS):
        table[first : last + 1] = bytes([category]) * (last + 1 - first)
    return bytes(table)
