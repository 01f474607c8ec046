"""Classes: how many there are, which ids the annotations have, and whether all data sets mean the same by an id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.class_mapping import config_key
from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.registry import kinds_of

Labelled = Mapping[str, set[str]]


def wrong_number(cfg: CfgNode, metadata: Metadata, kind: TaskKind) -> Iterator[str]:
    """A number of classes in the config that is not the data set's."""
    counted = kind.number_of_classes(cfg) if kind.classes_key else None
    if counted is None:
        return
    (key, number), names = counted, metadata.get(kind.classes_key)
    if names is None:
        yield f"its metadata have no `{kind.classes_key}`: register them with MetadataCatalog"
    elif len(names) != number:
        yield f"it has {len(names)} `{kind.classes_key}`, but {key} is {number}: set it to {len(names)}"


def wrong_mapping(metadata: Metadata, kind: TaskKind) -> Iterator[str]:
    """A mapping of a data set's own ids that leaves out a class, or two ids that are one class."""
    mapping, names = (metadata.get(key) if key else None for key in (kind.ids_key, kind.classes_key))
    if mapping is None or names is None:
        return
    if sorted(mapping.values()) != list(range(len(names))):
        yield (
            f"`{kind.ids_key}` in its metadata must give each of the {len(names)} `{kind.classes_key}` one id, found "
            f"{mapping}: correct it, or leave it out where its files have the ids 0..{len(names) - 1}"
        )


def shown_classes(records: list[dict[str, Any]]) -> set[Any]:
    """Ids of all annotations."""
    return {a["category_id"] for r in records for a in r.get("annotations") or () if "category_id" in a}


def wrong_category_ids(metadata: Metadata, shown: set[Any]) -> Iterator[str]:
    """Ids of annotations beyond the classes that the metadata name."""
    classes = metadata.get("thing_classes")
    wrong = sorted(shown - set(range(len(classes))), key=str) if classes is not None else []
    if wrong:
        yield f"`category_id` must be in 0..{len(classes) - 1}, found {wrong}: correct its reader"


def different_classes(cfg: CfgNode, labelled: Labelled) -> Iterator[str]:
    """One head has one list of classes: the data sets that train it must agree on it, and those that test it."""
    groups: dict[str, list[TaskKind]] = {}
    for kind in kinds_of(cfg.MTL.TASKS):
        groups.setdefault(list_key(kind), []).append(kind)
    for listed, kinds in groups.items():
        tasks = [kind.task for kind in kinds]
        train, test = (
            {n: kinds[0].class_names(n) for n in names if n in labelled and labelled[n].intersection(tasks)}
            for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
        )
        if not train:
            continue
        first = next(iter(train))
        what = " and ".join(map(repr, tasks))
        differences = [difference for names in train.values() if (difference := class_difference(train[first], names))]
        if differences:
            yield (
                f"{', '.join(train)} label {what} with different `{listed}`, {differences[0]}: "
                f"map them to one list {_option(listed)}in their readers"
            )
        for name, names in test.items():
            difference = class_difference(train[first], names) if name not in train else None
            if difference:
                yield (
                    f"{name}: its `{listed}` are not those of {first}, which trains {what}, {difference}: "
                    f"map them to the same list {_option(listed)}in its reader"
                )


def background_classes(shown: Mapping[str, set[Any]], negative: Mapping[str, set[int]]) -> Iterator[tuple[str, str]]:
    """Training sets that label no object of a class that others label: what they show of it counts as background.

    Args:
        shown: by training set that labels objects, the ids of its annotations.
        negative: by training set, the ids of classes that are background where its images have no annotation of them.

    Yields:
        the set, and the line.
    """
    everywhere = set().union(*shown.values())
    for name, ids in shown.items():
        names = MetadataCatalog.get(name).get("thing_classes") or []
        missing = [str(names[k]) for k in sorted((everywhere - ids) & negative[name])]
        if missing:
            yield (
                name,
                f"has no object of class {the_first(missing)}, of which other training sets have some: "
                "where its images show any, they are trained as background; label them, leave the class out, or say by "
                "`annotated_classes` in its metadata what it is labelled for",
            )


def trained_classes(cfg: CfgNode) -> dict[str, list[str]]:
    """By ``thing_classes``, ``stuff_classes`` or classification: the names of what the model's ids stand for."""
    trained = {}
    for kind in kinds_of(cfg.MTL.TASKS):
        names = next(filter(None, map(kind.class_names, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))), [])
        if names:
            trained[list_key(kind)] = list(map(str, names))
    return trained


def _option(listed: str) -> str:
    """In words, the config key of the list that all data sets are mapped to, where there is one."""
    key = config_key(listed)
    return f"by MTL.DATA.CLASSES.{key}, or " if key else ""


def list_key(kind: TaskKind) -> str:
    """What kinds that share a list of classes have in common."""
    return kind.classes_key or kind.task


def class_difference(first: list[str], second: list[str]) -> str | None:
    """What two lists of classes differ in; None where they are the same, or one is not known."""
    if not first or not second or first == second:
        return None
    i, a, b = next((i, a, b) for i, (a, b) in enumerate(zip_longest(first, second)) if a != b)
    known = [f"class {i} is {'missing' if name is None else repr(name)}" for name in (a, b)]
    return f"{known[0]} in the one and {known[1].removeprefix(f'class {i} is ')} in the other"
