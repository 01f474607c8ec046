"""Classes: how many there are, which ids the annotations have, and whether all data sets mean the same by an id."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from numbers import Integral
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mtl_d2.tasks import LABELS, is_classification

# Of each task with classes: where the metadata list them.
CLASSES = {"detection": "thing_classes", "instance": "thing_classes", "semantic": "stuff_classes"}
# The config keys that count them. Detectors of detectron2's own have their heads' key.
_COUNTS = {"stuff_classes": "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "thing_classes": "MODEL.ROI_HEADS.NUM_CLASSES"}
_DETECTOR_COUNTS = {"MultiTaskFCOS": {"thing_classes": "MODEL.FCOS.NUM_CLASSES"}}
# From the ids of a data set's own files to those of its classes, which detectron2's evaluators go back by.
_MAPPINGS = {"thing_classes": "thing_dataset_id_to_contiguous_id", "stuff_classes": "stuff_dataset_id_to_contiguous_id"}

Labelled = Mapping[str, set[str]]
SHOWN = 5  # classes that a line names


def wrong_numbers(cfg: CfgNode, name: str, tasks: Iterable[str]) -> Iterator[str]:
    """Tasks whose number of classes in the config is not the data set's."""
    for listed in sorted({CLASSES[task] for task in CLASSES.keys() & set(tasks)}):
        key = _DETECTOR_COUNTS.get(cfg.MODEL.META_ARCHITECTURE, {}).get(listed, _COUNTS[listed])
        classes = getattr(MetadataCatalog.get(name), listed, None)
        number = operator.attrgetter(key)(cfg)
        if classes is None:
            yield f"its metadata have no `{listed}`: register them with MetadataCatalog"
        elif len(classes) != number:
            yield f"it has {len(classes)} `{listed}`, but {key} is {number}: set it to {len(classes)}"


def shown_classes(cfg: CfgNode, records: list[dict[str, Any]]) -> set[Any]:
    """Ids of all annotations, where a task of the config looks at them."""
    if not any(LABELS[task].record_key == "annotations" for task in cfg.MTL.TASKS):
        return set()
    return {a["category_id"] for r in records for a in r.get("annotations") or () if "category_id" in a}


def wrong_category_ids(name: str, shown: set[Any]) -> Iterator[str]:
    """Ids of annotations beyond the classes that the metadata name."""
    classes = MetadataCatalog.get(name).get("thing_classes")
    wrong = sorted(shown - set(range(len(classes))), key=str) if classes is not None else []
    if wrong:
        yield f"`category_id` must be in 0..{len(classes) - 1}, found {wrong}: correct its reader"


def wrong_mappings(name: str, tasks: Iterable[str]) -> Iterator[str]:
    """Mappings of a data set's own ids that leave out a class, or two ids that are one class."""
    metadata = MetadataCatalog.get(name)
    for listed in sorted({CLASSES[task] for task in CLASSES.keys() & set(tasks)}):
        mapping, classes = metadata.get(_MAPPINGS[listed]), metadata.get(listed)
        if mapping is None or classes is None:
            continue
        if sorted(mapping.values()) != list(range(len(classes))):
            yield (
                f"`{_MAPPINGS[listed]}` in its metadata must give each of the {len(classes)} `{listed}` one id, "
                f"found {mapping}: correct it, or leave it out where its files have the ids 0..{len(classes) - 1}"
            )


def wrong_ignored_id(cfg: CfgNode, name: str) -> Iterator[str]:
    """An id of pixels without a label that is no number, or that a class has in the samples."""
    ignored, head = MetadataCatalog.get(name).get("ignore_label", 255), cfg.MODEL.SEM_SEG_HEAD
    if not 0 <= head.IGNORE_VALUE <= 255:
        yield f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE must be in 0..255, as ids of 8 bits are, found {head.IGNORE_VALUE}"
    elif head.IGNORE_VALUE < head.NUM_CLASSES and ignored != head.IGNORE_VALUE:
        yield (
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {head.IGNORE_VALUE}, the id of one of the {head.NUM_CLASSES} classes, "
            f"which would never be learnt, while its maps say `ignore_label` {ignored}: set it to 255"
        )
    if not isinstance(ignored, Integral):
        yield (
            f"`ignore_label` in its metadata must be one whole number, found {ignored!r}: correct it, or leave it out "
            "where the id is MODEL.SEM_SEG_HEAD.IGNORE_VALUE"
        )


def different_classes(cfg: CfgNode, labelled: Labelled) -> Iterator[str]:
    """One head has one list of classes: the data sets that train it must agree on it, and those that test it."""
    groups: dict[str, list[str]] = {}
    for task in cfg.MTL.TASKS:
        groups.setdefault(CLASSES.get(task, task), []).append(task)
    for listed, tasks in groups.items():
        train, test = (
            {n: _listed(n, listed) for n in names if n in labelled and labelled[n].intersection(tasks)}
            for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
        )
        if not train:
            continue
        first = next(iter(train))
        what = " and ".join(map(repr, tasks))
        others = [difference for names in train.values() if (difference := class_difference(train[first], names))]
        if others:
            yield (
                f"{', '.join(train)} label {what} with different `{listed}`, {others[0]}: "
                "map them to one list in their readers"
            )
        for name, names in test.items():
            difference = class_difference(train[first], names) if name not in train else None
            if difference:
                yield (
                    f"{name}: its `{listed}` are not those of {first}, which trains {what}, {difference}: "
                    "map them to the same list in its reader"
                )


def background_classes(shown: Mapping[str, set[Any]]) -> Iterator[tuple[str, str]]:
    """Training sets that label no object of a class that others label: what they show of it counts as background.

    Args:
        shown: by training set that labels objects, the ids of its annotations.

    Yields:
        the set, and the line.
    """
    everywhere = set().union(*shown.values())
    for name, own in shown.items():
        names = _listed(name, "thing_classes") or []
        missing = [str(names[k]) for k in sorted(everywhere - own) if k < len(names)]
        if missing:
            rest = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            yield (
                name,
                f"has no object of class {', '.join(missing[:SHOWN])}{rest}, of which other training sets have some: "
                "where its images show any, they are trained as background; label them, or leave the class out",
            )


def trained_classes(cfg: CfgNode) -> dict[str, list[str]]:
    """By ``thing_classes``, ``stuff_classes`` or classification: the names of what the model's ids stand for."""
    found = {}
    for listed in dict.fromkeys(CLASSES.get(task, task) for task in cfg.MTL.TASKS):
        names = next(filter(None, (_listed(name, listed) for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))), [])
        if names:
            found[listed] = list(map(str, names))
    return found


def _listed(name: str, listed: str) -> list[str]:
    metadata = MetadataCatalog.get(name)
    if is_classification(listed):
        return list((metadata.get("classes") or {}).get(listed, ()))
    return list(metadata.get(listed) or ())


def class_difference(first: list[str], other: list[str]) -> str | None:
    """What two lists of classes differ in; None where they are the same, or one is not known."""
    if not first or not other or first == other:
        return None
    i, a, b = next((i, a, b) for i, (a, b) in enumerate(zip_longest(first, other)) if a != b)
    known = [f"class {i} is {'missing' if one is None else repr(one)}" for one in (a, b)]
    return f"{known[0]} in the one and {known[1].removeprefix(f'class {i} is ')} in the other"
