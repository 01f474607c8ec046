"""Trainings whose evaluation fails: they come to their end, and say so there."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage
from running import train

from mtl_d2.engine.best import BestEvaluation, BestModels
from mtl_d2.engine.hooks import FailedEvaluations, ValidationHook
from mtl_d2.evaluation.criteria import WeightedSum
from mtl_d2.evaluation.errors import EvaluationError
from mtl_d2.evaluation.results import EvaluationResults
from mtl_d2.evaluation.semantic import SemanticEvaluator
from mtl_d2.results_file import notes_of, own_row

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def failing(monkeypatch):
    """Which evaluations of the semantic maps fail, by number."""
    which, original, calls = [], SemanticEvaluator.evaluate, []

    def evaluate(self):
        calls.append(self)
        if len(calls) in which:
            raise RuntimeError("the tool died")
        return original(self)

    monkeypatch.setattr(SemanticEvaluator, "evaluate", evaluate)
    return which


def left(cfg):
    return json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())


def test_last_evaluation_that_fails_costs_its_own_numbers_alone(cfg, failing):
    failing.append(1)
    with pytest.raises(
        EvaluationError, match="after 6 updates: bdd100k_sem_seg_val: the evaluation of semantic failed"
    ):
        train(cfg)
    output = Path(cfg.OUTPUT_DIR)
    assert set(left(cfg)[own_row(left(cfg))]) == {"bbox"}
    (note,) = notes_of(left(cfg))
    assert "RuntimeError: the tool died" in note
    for name in ("model_final.pth", "report.html", "inference/bdd100k_det_val/coco_instances_results.json"):
        assert (output / name).is_file(), name


def test_expected_result_of_an_evaluation_that_failed_is_not_as_expected(cfg, failing):
    failing.append(1)
    cfg.TEST.EXPECTED_RESULTS = [["sem_seg", "mIoU", 10.0, 100.0]]
    with pytest.raises(SystemExit, match="1"):
        train(cfg)
    assert "the tool died" in notes_of(left(cfg))[0]


def test_training_goes_on_after_an_evaluation_that_failed_and_says_so_at_its_end(cfg, failing):
    failing.append(1)
    cfg.TEST.EVAL_PERIOD = 2
    with pytest.raises(EvaluationError, match=r"^after 2 updates: .*the tool died"):
        train(cfg)
    assert set(left(cfg)[own_row(left(cfg))]) == {"bbox", "sem_seg"}
    assert len(notes_of(left(cfg))) == 1
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"


def test_failure_is_still_known_after_a_resume(cfg, failing):
    failing.append(1)
    cfg.TEST.EVAL_PERIOD = 2
    with pytest.raises(EvaluationError, match="after 2 updates"):
        train(cfg, until=4)
    with pytest.raises(EvaluationError, match=r"^after 2 updates: [^\n]*$"):
        train(cfg, resume=True)


def test_selection_passes_over_an_evaluation_that_failed(cfg, failing):
    failing.append(1)
    cfg.TEST.EVAL_PERIOD, cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON = 3, "sem_seg/mIoU", "test"
    with pytest.raises(EvaluationError):
        train(cfg)
    assert set(left(cfg)[own_row(left(cfg))]) == {"bbox", "sem_seg"}
    assert Path(cfg.OUTPUT_DIR, "model_best.pth").is_file()


def test_weighting_keeps_its_accuracies_where_an_evaluation_failed():
    results = EvaluationResults(bbox={"AP": 20.0})
    results.failures = ("set: the evaluation of semantic failed",)
    seen, failed = [], FailedEvaluations()
    hook = ValidationHook(1, lambda: results, SimpleNamespace(on_evaluation=seen.append), failed)
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(iter=4, storage=storage)
        hook.after_step()
    assert seen == []
    assert failed.lines == ["after 5 updates: set: the evaluation of semantic failed"]


def best_models(metric, folder):
    return BestModels([WeightedSum(metric, ((1.0, metric),))], str(folder))


def test_metric_without_a_value_is_never_passed_over_in_silence(tmp_path, caplog):
    hook = BestEvaluation(best_models("bbox/AP", tmp_path))
    last = EvaluationResults(bbox={"AP": float("nan")})
    hook.trainer = SimpleNamespace(_last_eval_results=last, iter=6, max_iter=6, model=torch.nn.Linear(1, 1))
    with caplog.at_level(logging.WARNING):
        hook.after_train()
    assert "bbox/AP has no value" in caplog.text
    assert hook.trainer._last_eval_results.notes == (
        "MTL.SELECT_BY: bbox/AP never had a value, so no model was chosen by it",
    )
    assert not (tmp_path / "model_best.pth").exists()


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("depth/abs_err", [3.0, 1.0, 2.0], 1.0),
        ("depth@own_val/abs_err", [3.0, 1.0, 2.0], 1.0),
        ("normals_indoor/mean_angle", [3.0, 1.0, 2.0], 1.0),
        ("depth/delta_1.25", [3.0, 1.0, 5.0], 5.0),
        ("own_tool/made_up", [-3.0, -1.0, -2.0], -1.0),  # known to nobody
    ],
)
@pytest.mark.parametrize("stopped_after", [0, 1, 2])
def test_kept_is_the_lowest_of_an_error_and_the_highest_of_others_after_a_stop_too(
    tmp_path, metric, values, best, stopped_after
):
    group, _, name = metric.partition("/")
    hook = BestEvaluation(best_models(metric, tmp_path))
    for i, value in enumerate(values):
        if i == stopped_after:
            state, hook = hook.state_dict(), BestEvaluation(best_models(metric, tmp_path))
            hook.load_state_dict(state)
        results = EvaluationResults({group: {name: value}})
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.bias, value)
        hook.trainer = SimpleNamespace(_last_eval_results=results, iter=i, max_iter=3, model=model)
        hook.after_step()
    hook.after_train()
    assert hook.trainer._last_eval_results == {group: {name: best}}
    assert torch.load(tmp_path / "model_best.pth")["model"]["bias"].item() == best


def test_what_fails_again_and_again_is_one_line():
    failed = FailedEvaluations()
    for updates in (5, 10, 15, 20):
        failed.add(updates, ["set: semantic failed"])
    failed.add(20, ["set: detection failed"])
    with pytest.raises(EvaluationError) as found:
        failed.require_none()
    assert str(found.value).splitlines() == [
        "after 5, 10, ..., 20 updates (4 times): set: semantic failed",
        "after 20 updates: set: detection failed",
    ]
