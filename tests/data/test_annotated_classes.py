"""What a data set, or one image of it, says of each class of its list."""

from __future__ import annotations

import pytest
from detectron2.data.catalog import Metadata

from mtl_d2.data.annotated_classes import (
    EXHAUSTIVE,
    NOT_ANNOTATED,
    NOT_EXHAUSTIVE,
    AnnotatedClasses,
    annotated_classes,
    of_image,
)
from mtl_d2.data.errors import DataError

NAMES = ["car", "person", "bus", "rider"]


def of(**metadata: object) -> AnnotatedClasses:
    return annotated_classes(Metadata(name="streets", thing_classes=NAMES, **metadata))


def test_a_data_set_that_says_nothing_is_annotated_for_all() -> None:
    assert of().are_all
    assert of(annotated_classes=NAMES).are_all


def test_classes_are_absent_partly_or_wholly_annotated() -> None:
    stated = of(annotated_classes=["rider", "car"], not_exhaustive_classes=["bus", "car"])
    assert list(stated.states) == [NOT_EXHAUSTIVE, NOT_ANNOTATED, NOT_EXHAUSTIVE, EXHAUSTIVE]
    assert stated.ids(NOT_EXHAUSTIVE) == {0, 2}
    assert not stated.are_all


def test_each_list_has_keys_of_its_own() -> None:
    metadata = Metadata(
        name="streets", stuff_classes=["road", "car"], annotated_stuff_classes=["road"], annotated_classes=["bus"]
    )
    assert list(annotated_classes(metadata, "stuff_classes").states) == [EXHAUSTIVE, NOT_ANNOTATED]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"annotated_classes": ["cars"]}, r"`annotated_classes` .* 'cars', .* did you mean 'car'\?"),
        ({"not_exhaustive_classes": ["zebra"]}, "`not_exhaustive_classes` .* 'zebra', .*: they are 'car', 'person'"),
        ({"annotated_classes": "car"}, "must be a list of names of classes, got 'car'"),
        ({"annotated_classes": []}, "is empty"),
    ],
    ids=["near", "unknown", "text", "empty"],
)
def test_names_that_are_no_classes_are_refused(metadata: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=f"^streets: .*{said}"):
        of(**metadata)


def lvis_image(**record: object) -> list[int]:
    return list(of_image({"annotations": [{"category_id": 0}, {"category_id": 2}], **record}, of(), Metadata()).states)


def test_an_image_of_lvis_is_known_for_what_it_shows_and_for_what_is_verified_absent() -> None:
    # Shown are 0 and 2, whose ids in the file are 1 and 3; 4 is verified absent.
    states = lvis_image(neg_category_ids=[4], not_exhaustive_category_ids=[3])
    assert states == [EXHAUSTIVE, NOT_ANNOTATED, NOT_EXHAUSTIVE, EXHAUSTIVE]


def test_an_image_can_be_less_exhaustive_than_its_data_set() -> None:
    assert lvis_image(not_exhaustive_category_ids=[1]) == [NOT_EXHAUSTIVE, *[EXHAUSTIVE] * 3]


def test_an_image_that_says_nothing_is_as_its_data_set() -> None:
    stated = of(annotated_classes=["car"])
    assert of_image({"annotations": []}, stated, Metadata()) is stated


def test_ids_of_an_image_are_those_of_its_files() -> None:
    metadata = Metadata(thing_dataset_id_to_contiguous_id={7: 0, 9: 1, 11: 2, 13: 3})
    record = {"annotations": [], "neg_category_ids": [9]}
    assert of_image(record, of(), metadata).ids(EXHAUSTIVE) == {1}
    with pytest.raises(DataError, match="`neg_category_ids` has 8"):
        of_image({**record, "neg_category_ids": [8]}, of(), metadata)
