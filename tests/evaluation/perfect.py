"""Two images of objects and one of none, in the form that a test asks for, and the detector that is right."""

import copy
import math

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    annotation,
    evaluate,
    of_nothing,
    outline,
    pixels,
    predicted,
    record,
    registered,
)

BOXES = [[5, 5, 20, 20], [40, 10, 30, 40], [10, 35, 25, 20]]
CLASSES = [0, 1, 1]
IMAGES = ("a", "b", "c")  # the last shows nothing
NAMES = ["cat", "dog"]


def boxes_of(image):
    return BOXES if image != IMAGES[-1] else []


def plain_records(change=None, whole=None):
    """Two images of three objects each and one of none, ``change`` done to each object and ``whole`` to each image."""
    records = []
    for i, image in enumerate(IMAGES):
        objects = [annotation(b, c) for b, c in zip(boxes_of(image), CLASSES, strict=False)]
        for k, one in enumerate(objects):
            if change:
                change(one, k)
        found = record(image, *objects)
        if whole:
            whole(found, i)
        records.append(found)
    return records


def perfect(name, records, folder, kinds=KINDS):
    outputs = [predicted(boxes_of(image), CLASSES[: len(boxes_of(image))]) for image in IMAGES]
    return evaluate(name, records, outputs, folder, kinds)[1]


def check_perfect(records, folder, kinds=KINDS, name="own_set", **metadata):
    given = copy.deepcopy(records)
    with registered(name, lambda: records, **{"thing_classes": NAMES, **metadata}):
        before = MetadataCatalog.get(name).as_dict().copy()
        found = perfect(name, records, folder, kinds)
        nothing = of_nothing(name, records, folder, kinds)
        assert MetadataCatalog.get(name).as_dict() == before
    for kind in kinds:
        defined = {key: value for key, value in found[kind].items() if not math.isnan(value)}
        assert {"AP", "AP50", "AP75"} <= defined.keys()
        assert all(abs(value - 100) < 1e-9 for value in defined.values()), (kind, defined)
        assert {key: nothing[kind][key] for key in defined} == dict.fromkeys(defined, 0)
        assert nothing[kind].keys() == found[kind].keys()
    assert repr(given) == repr(records)  # nothing of the user's is written to
    return found


def changing(key, *values):
    """Gives an object a key's value, by its number; "absent" takes the key away."""

    def change(one, k):
        value = values[k % len(values)]
        one[key] = value(one) if callable(value) else value
        if isinstance(value, str) and value == "absent":
            del one[key]

    return change


def box_of(one):
    return one["bbox"]


def mask_of(one):
    return pixels([one["bbox"]])[0].numpy()


def points_of(one):
    return np.array(outline(*one["bbox"]), float).reshape(-1, 2)


def runs_of(one):
    flat = mask_of(one).ravel(order="F")
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *np.flatnonzero(np.diff(flat)) + 1, len(flat)]).tolist()}


def two_points_beside(one):
    return [[1, 1, 5, 5], outline(*one["bbox"])]


def relative(one, k):
    x, y, w, h = one["bbox"]
    one["bbox"] = [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]
    one["bbox_mode"] = BoxMode.XYXY_REL
