"""Which records stand for a data set."""

from mtl_d2.evaluation.sample import choose


def records(count):
    return [{"file_name": i, "annotations": [{"bbox": [1, 2, 3, 4]}]} for i in range(count)]


def names(chosen):
    return [record["file_name"] for record in chosen]


def free(record):
    return 0


def test_small_set_is_taken_as_a_whole():
    assert names(choose(records(5), 5, free, 0)) == [0, 1, 2, 3, 4]


def test_large_set_is_taken_evenly_up_to_its_end():
    chosen = names(choose(records(100), 5, free, 0))
    assert len(chosen) == 5
    assert chosen[0] == 0  # the first of its form
    assert chosen[1:] == [10, 30, 50, 70]


def test_first_record_of_each_form_is_there():
    given = records(1000)
    given[433]["annotations"].append({"bbox": [1, 2, 3, 4], "segmentation": None})
    given[707]["annotations"].append({"bbox": [1, 2, 3, 4], "iscrowd": 1})
    given[808]["annotations"] = []
    del given[909]["annotations"]
    assert {433, 707, 909} <= set(names(choose(given, 10, free, 0)))


def test_budget_of_pixels_ends_the_choice_but_not_before_the_first():
    assert names(choose(records(9), 9, lambda record: 10, 35)) == [0, 1, 2]
    assert names(choose(records(9), 9, lambda record: 100, 35)) == [0]
