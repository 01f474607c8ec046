import json

import pytest
from torch import nn

from mtl_d2.evaluation.results import (
    EvaluationResults,
    add_results_row,
    flat_table,
    merge_results,
    number_of_parameters,
)
from mtl_d2.results_file import definitions_of, notes_of, own_row, parameters_of, rows_of

BOX, SEG = {"AP": 25.0, "AP-car": 30.0}, {"mIoU": 55.0}


def test_results_of_two_test_sets_become_one():
    merged = merge_results({"det": {"bbox": BOX}, "seg": {"sem_seg": SEG}})
    assert merged == {"bbox": BOX, "sem_seg": SEG}


def test_second_result_of_a_group_is_named_after_its_data_set():
    merged = merge_results({"a": {"bbox": BOX}, "b": {"bbox": SEG}})
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


def written(folder):
    return json.loads((folder / "results.json").read_text())


def test_own_row_is_the_runs_wherever_it_stands(tmp_path):
    add_results_row(tmp_path, "best constant", {"bbox": {"AP": 3.4}})
    assert own_row(written(tmp_path)) is None
    add_results_row(tmp_path, "mclgs", {"bbox": {"AP": 38.2}}, own=True, notes=["a note"])
    add_results_row(tmp_path, "another for comparison", {"bbox": {"AP": 50.0}})
    assert own_row(written(tmp_path)) == "mclgs"
    assert notes_of(written(tmp_path)) == ["a note"]
    assert list(rows_of(written(tmp_path))) == ["best constant", "mclgs", "another for comparison"]


def test_definitions_stay_beside_the_own_row(tmp_path):
    results = EvaluationResults(bbox=BOX)
    results.definitions = {"bbox": "AP as by pycocotools"}
    add_results_row(tmp_path, "sum", results, own=True)
    add_results_row(tmp_path, "another", {"bbox": BOX})
    assert definitions_of(written(tmp_path)) == {"bbox": "AP as by pycocotools"}
    assert list(rows_of(written(tmp_path))) == ["sum", "another"]


def test_the_number_of_parameters_stays_beside_the_own_row(tmp_path):
    frozen = nn.Linear(3, 2).requires_grad_(False)  # 8
    model = nn.Sequential(frozen, nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), frozen)  # and 4 and 4
    add_results_row(tmp_path, "sum", {"bbox": BOX}, own=True, parameters=number_of_parameters(model))
    add_results_row(tmp_path, "another", {"bbox": BOX})
    assert parameters_of(written(tmp_path)) == 16
    assert list(rows_of(written(tmp_path))) == ["sum", "another"]


@pytest.mark.parametrize("said", [{}, {"parameters": None}, {"parameters": "many"}, {"parameters": True}])
def test_files_that_say_no_number_of_parameters_have_none(said):
    assert parameters_of({"sum": {"bbox": BOX}, **said}) == 0


def test_run_that_goes_on_with_another_method_has_that_row_and_its_notes(tmp_path):
    add_results_row(tmp_path, "sum", {"bbox": BOX}, own=True, notes=["failed"])
    add_results_row(tmp_path, "mclgs", {"bbox": BOX}, own=True)
    assert own_row(written(tmp_path)) == "mclgs"
    assert notes_of(written(tmp_path)) == []


@pytest.mark.parametrize("rows", [("mclgs", "untrained", "best constant"), ("untrained", "best constant", "mclgs")])
def test_files_that_do_not_say_which_row_is_the_runs_are_read_by_its_name(rows):
    assert own_row({name: {"bbox": BOX} for name in rows}) == "mclgs"


def test_file_that_cannot_be_read_does_not_cost_new_results(tmp_path):
    (tmp_path / "results.json").write_text('{"a": ')
    add_results_row(tmp_path, "b", {"bbox": BOX}, own=True)
    assert list(rows_of(written(tmp_path))) == ["b"]
