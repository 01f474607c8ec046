import json

import pytest

from mtl_d2.evaluation.results import add_results_row, flat_table, merge_results

BOX, SEG = {"AP": 25.0, "AP-car": 30.0}, {"mIoU": 55.0}


def test_results_of_two_test_sets_become_one():
    merged = merge_results({"det": {"bbox": BOX}, "seg": {"sem_seg": SEG}}, ("det", "seg"))
    assert merged == {"bbox": BOX, "sem_seg": SEG}


def test_one_test_set_comes_without_its_name():
    assert merge_results({"bbox": BOX}, ("det",)) == {"bbox": BOX}


def test_second_result_of_a_group_is_named_after_its_data_set():
    merged = merge_results({"a": {"bbox": BOX}, "b": {"bbox": SEG}}, ("a", "b"))
    assert merged == {"bbox": BOX, "bbox@b": SEG}


def test_table_leaves_single_classes_out():
    table = flat_table({"bbox": BOX, "sem_seg": SEG})
    assert "25.000" in table
    assert "AP-car" not in table


def test_rows_are_added_and_replaced_and_nan_is_null(tmp_path):
    add_results_row(tmp_path, "a", {"bbox": {"AP": float("nan")}})
    add_results_row(tmp_path, "b", {"bbox": BOX})
    add_results_row(tmp_path, "a", {"bbox": {"AP": 1}})
    add_results_row(tmp_path, "c", {"bbox": {"AP": float("nan")}})
    rows = json.loads((tmp_path / "results.json").read_text())
    assert list(rows) == ["a", "b", "c"]
    assert rows["a"]["bbox"]["AP"] == pytest.approx(1)
    assert rows["c"]["bbox"]["AP"] is None


def test_row_of_another_run_is_taken_over_with_its_missing_figures(tmp_path):
    add_results_row(tmp_path, "a", {"bbox": {"AP": float("nan"), "AP50": 2.0}})
    row = json.loads((tmp_path / "results.json").read_text())["a"]
    add_results_row(tmp_path, "b", row)
    assert json.loads((tmp_path / "results.json").read_text())["b"] == row
