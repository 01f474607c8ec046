"""Records in a file come back as they were, to every process that maps it, or not at all."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from detectron2.structures import BoxMode

from mtl_d2.data.record_file import DamagedFileError, pack, read_header, read_sets, unpack, write_records

RECORDS = {
    "first": [
        {
            "file_name": "/data/\udcff.jpg",  # a name that is no UTF-8
            "height": 48,
            "image_id": 2**63,
            "annotations": [
                {"bbox": (0.1, 1, 2.5, -0.0), "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": False, "category_id": 3},
                {"segmentation": {"size": [4, 5], "counts": b"\x00\xff12"}, "bbox_mode": 1},
            ],
        },
        {"nothing": None, 7: ((), [[]]), (1, "a"): {"deep": ("b", (BoxMode.XYXY_ABS,))}},
    ],
    "empty": [],
    "second": [{"number": 5e-324}, {}, {"text": "ö" * 70000}],
}


def types(value):
    """The types in a value, as nested as it is."""
    if isinstance(value, dict):
        return dict, [(types(key), types(of)) for key, of in value.items()]
    return (type(value), list(map(types, value))) if isinstance(value, list | tuple) else type(value)


@pytest.fixture
def path(tmp_path):
    write_records(tmp_path / "a.records", {"key": "k"}, RECORDS)
    return tmp_path / "a.records"


def test_records_come_back_with_their_values_and_types(path):
    sets = {name: list(records) for name, records in read_sets(path).items()}
    assert sets == RECORDS
    assert types(sets) == types(RECORDS)
    assert read_header(path) == {"key": "k"}


def test_a_record_is_made_anew_each_time_and_may_be_changed(path):
    second = read_sets(path)["second"]
    second[0]["number"] = 1
    assert second[0] == {"number": 5e-324}


def test_sequences_have_pythons_indices(path):
    second = read_sets(path)["second"]
    assert second[-1] == second[2]
    assert second[1:] == RECORDS["second"][1:]
    with pytest.raises(IndexError):
        second[3]
    with pytest.raises(IndexError):
        read_sets(path)["empty"][0]


def test_another_process_gets_the_path_and_not_the_records(path):
    sent = pickle.dumps(read_sets(path)["second"])
    assert len(sent) < 1000
    assert list(pickle.loads(sent)) == RECORDS["second"]


def test_what_is_mapped_stays_where_the_file_is_replaced(path):
    second = read_sets(path)["second"]
    write_records(path, {}, {"second": [{"other": 1}]})
    assert list(second) == RECORDS["second"]
    assert list(read_sets(path)["second"]) == [{"other": 1}]


def test_a_file_that_is_cut_off_or_changed_anywhere_is_damaged(path):
    content = path.read_bytes()
    for length in (0, 5, 40, 70, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            read_sets(path)
    for place in np.random.default_rng(0).integers(len(content), size=60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedFileError):
            read_sets(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", pickle.dumps({"a": 1}), b"mtl_d2 records 1" + b"\xff" * 90])
def test_a_foreign_file_is_damaged_and_not_run(content, tmp_path):
    path = tmp_path / "b.records"
    path.write_bytes(content)
    for read in (read_header, read_sets):
        with pytest.raises(DamagedFileError):
            read(path)


@pytest.mark.parametrize(
    "value",
    [np.float64(1), np.zeros(2), {1}, 2**64, OrderedDict(a=1), object(), type("Text", (str,), {})("a")],
    ids=range(7),
)
def test_what_would_come_back_as_something_else_cannot_be_written(value, tmp_path):
    with pytest.raises(TypeError):
        write_records(tmp_path / "c.records", {}, {"set": [{"deep": [value]}]})
    assert list(tmp_path.iterdir()) == []


def test_equal_bytes_are_of_equal_values_alone():
    values = [1, 1.0, True, "1", b"1", (1,), [1], BoxMode.XYWH_ABS, None, {1: 1}]
    assert len({pack(value) for value in values}) == len(values)
    assert types([unpack(pack(value)) for value in values]) == types(values)
