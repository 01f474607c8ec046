"""The best models of a run: by several criteria, on held-out images or on test sets."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from bars import NAME, bars_cfg
from detectron2.utils import comm
from running import train

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.averaged_weights import AveragedWeights
from mtl_d2.engine.best import BestModels
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.launch import leave_groups
from mtl_d2.engine.resume import changes, compare_configs
from mtl_d2.evaluation.criteria import chosen_by_itself, read_criteria
from mtl_d2.evaluation.results import EvaluationResults
from mtl_d2.results_file import notes_of, own_row

pytestmark = pytest.mark.filterwarnings("ignore")
HELD = NAME + "@validation"


@pytest.fixture
def cfg(tmp_path):
    cfg = bars_cfg(tmp_path / "output")
    cfg.DATASETS.TEST = (NAME,)
    cfg.MTL.SELECT_BY, cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD = "accuracy/harmonic_mean", 0.3, 5
    return cfg


@pytest.fixture
def evaluated(monkeypatch):
    """What is evaluated: sets and weights. On held-out images class_left is best at the second time, right at first."""
    seen = []
    left, right = iter([10.0, 30.0, 20.0, 15.0]), iter([9.0, 8.0, 7.0, 6.0])

    def test(cls, cfg, model, evaluators=None):
        seen.append((cfg.DATASETS.TEST, {name: value.clone() for name, value in model.state_dict().items()}))
        if cfg.DATASETS.TEST == (NAME,):
            return EvaluationResults(accuracy={"class_left": 50.0, "class_right": 60.0})
        return EvaluationResults(accuracy={"class_left": next(left), "class_right": next(right)})

    monkeypatch.setattr(MultiTaskTrainer, "test", classmethod(test))
    monkeypatch.setattr("mtl_d2.report.pictures.write_pictures", lambda *arguments: None)
    return seen


def left_by(cfg):
    return json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())


def weights(cfg, name):
    return torch.load(Path(cfg.OUTPUT_DIR, name), weights_only=True)["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], value) for name, value in other.items())


def test_model_chosen_on_held_out_images_is_the_one_that_the_test_sets_see_once(cfg, evaluated):
    cfg.MTL.SELECT_BY = "accuracy/class_left, accuracy/class_right"
    trainer = train(cfg)
    assert [sets for sets, _ in evaluated] == [(HELD,)] * 3 + [(NAME,)]  # after 5, 10 and all 12 updates
    model = evaluated[-1][1]
    assert same(model, evaluated[1][1])
    assert same(model, weights(cfg, "model_best.pth"))
    assert same(evaluated[0][1], weights(cfg, "model_best_accuracy_class_right.pth"))
    assert same(trainer.model.state_dict(), evaluated[2][1])  # the last one's again
    content = left_by(cfg)
    assert content[own_row(content)] == {"accuracy": {"class_left": 50.0, "class_right": 60.0}}
    assert notes_of(content) == [
        "MTL.SELECT_BY chose model_best.pth, the model after 10 updates: accuracy/class_left of the held-out images "
        "was 30.000, the best of 3 evaluations",
        "MTL.SELECT_BY chose model_best_accuracy_class_right.pth, the model after 5 updates: accuracy/class_right of "
        "the held-out images was 9.000, the best of 3 evaluations",
    ]


@pytest.mark.parametrize("updates", [4, 8])
def test_run_that_goes_on_chooses_as_one_that_never_stopped(cfg, updates):
    cfg.SOLVER.BASE_LR, cfg.MTL.SELECT_BY = 0.3, "accuracy/class_left + accuracy/class_right"
    train(cfg)
    whole, results = weights(cfg, "model_best.pth"), left_by(cfg)
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text(f"model_{updates - 1:07d}.pth")
    train(cfg, resume=True)
    assert same(weights(cfg, "model_best.pth"), whole)
    assert left_by(cfg) == results


def train_on_a_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    cfg = bars_cfg(Path(folder, "output" if rank == 0 else "on_another_machine"))
    cfg.SOLVER.BASE_LR = 0.3  # so that the averages and the last weights see other classes
    cfg.DATASETS.TEST, cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD = (NAME,), 0.3, 5
    cfg.MTL.EMA.DECAY, cfg.MTL.SELECT_BY, cfg.SOLVER.MAX_ITER = 0.99, "accuracy_EMA/class_left", 30
    averages = next(hook for hook in train(cfg)._hooks if isinstance(hook, AveragedWeights)).averages.tensors
    torch.save(averages, Path(folder, f"{rank}.pt"))
    leave_groups()


def test_processes_have_the_same_averages_and_evaluate_the_model_that_the_first_one_chose(tmp_path, cfg):
    mp.spawn(train_on_a_rank, (str(tmp_path),), nprocs=2)
    assert same(*(torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)))
    content = left_by(cfg)
    assert set(content[own_row(content)]) == {"accuracy", "accuracy_EMA"}
    chosen = MultiTaskTrainer.build_model(cfg)
    chosen.load_state_dict(weights(cfg, "model_best.pth"))
    assert MultiTaskTrainer.test(cfg, chosen)["accuracy"] == content[own_row(content)]["accuracy"]


def test_averaged_weights_can_be_chosen(cfg):
    cfg.MTL.EMA.DECAY, cfg.MTL.SELECT_BY = 0.9, "accuracy_EMA/harmonic_mean, accuracy/harmonic_mean"
    trainer = train(cfg)
    chosen, plain = weights(cfg, "model_best.pth"), weights(cfg, "model_best_accuracy_harmonic_mean.pth")
    assert not same(chosen, plain)
    assert set(trainer._last_eval_results) == {"accuracy", "accuracy_EMA"}
    assert "the averaged weights after" in notes_of(left_by(cfg))[0]


def test_sum_of_the_test_sets_is_highest_where_the_model_was_kept_and_that_it_was_chosen_so_is_noted(cfg):
    cfg.MTL.SELECT_ON, cfg.MTL.SELECT_BY = "test", "accuracy/class_left - 2 * own/error"
    models = BestModels(read_criteria(cfg), cfg.OUTPUT_DIR, warning=chosen_by_itself(cfg))
    for update, (left, error) in enumerate([(10.0, 3.0), (9.0, 1.0), (20.0, 9.0)]):  # 4, 7 and 2
        models.look({"accuracy": {"class_left": left}, "own": {"error": error}}, update, torch.nn.Linear(1, 1))
    assert models.first["update"] == 1
    warning, chosen = models.notes()
    assert warning.startswith("MTL.SELECT_ON 'test': the model is chosen by accuracy/class_left and own/error of")
    assert "was 7.000, the best of 3 evaluations" in chosen


def test_model_that_never_had_a_value_is_not_chosen_and_the_last_one_is_evaluated(cfg, evaluated, monkeypatch):
    monkeypatch.setattr("mtl_d2.evaluation.criteria.metric_value", lambda results, metric: float("nan"))
    cfg.MTL.SELECT_BY = "accuracy/class_left"
    trainer = train(cfg)
    assert same(evaluated[-1][1], trainer.model.state_dict())
    assert notes_of(left_by(cfg)) == [
        "MTL.SELECT_BY: accuracy/class_left never had a value, so no model was chosen by it"
    ]
    assert not Path(cfg.OUTPUT_DIR, "model_best.pth").exists()


def test_file_that_is_gone_costs_its_results_alone(cfg):
    train(cfg)
    Path(cfg.OUTPUT_DIR, "model_best.pth").unlink()
    train(cfg, resume=True)
    assert "model_best.pth is gone" in left_by(cfg)["notes"][-1]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"MTL.SELECT_ON": "tests"}, "MTL.SELECT_ON is 'tests', which is none of 'validation', 'test'"),
        ({"MTL.DATA.VALIDATION_SHARE": 0.0}, "MTL.DATA.VALIDATION_SHARE is 0: set it, to 0.05; or, where one of"),
        ({"TEST.EVAL_PERIOD": 0}, "every TEST.EVAL_PERIOD updates, which must be at least 1, got 0"),
        ({"MTL.SELECT_ON": "test", "DATASETS.TEST": ()}, "DATASETS.TEST is empty: name test sets"),
        (
            {"MTL.SELECT_REFERENCE": "results.json"},
            "which no criterion of MTL.SELECT_BY 'accuracy/harmonic_mean' looks",
        ),
    ],
    ids=["unknown", "nothing held out", "never", "no test sets", "no delta"],
)
def test_choice_that_cannot_be_made_is_refused(cfg, keys, said):
    check_mtl_config(cfg)
    cfg.merge_from_list([word for pair in keys.items() for word in pair])
    with pytest.raises(ConfigError) as refusal:
        check_mtl_config(cfg)
    assert said in str(refusal.value)


def test_checkpoint_of_a_version_without_the_key_chose_on_the_test_sets(cfg):
    stored = "\n".join(line for line in cfg.dump().splitlines() if not line.strip().startswith("SELECT_ON"))
    assert list(changes(stored, cfg)) == ["MTL.SELECT_ON"]
    with pytest.raises(CheckpointError, match=r"MTL\.SELECT_ON: 'test' in the checkpoint, now 'validation'"):
        compare_configs(stored, cfg, 4)
    cfg.MTL.SELECT_ON = "test"
    assert not changes(stored, cfg)


def test_where_nothing_is_chosen_it_is_no_matter_where(cfg):
    cfg.MTL.SELECT_BY = ""
    stored = cfg.dump()
    cfg.MTL.SELECT_ON, cfg.MTL.SELECT_REFERENCE = "test", "results.json"
    assert not changes(stored, cfg)


def test_state_of_a_version_that_knew_one_criterion_is_gone_on_from(cfg):
    models = BestModels(read_criteria(cfg), cfg.OUTPUT_DIR)
    models.load_state_dict({"value": 70.0, "update": 4, "results": {"accuracy": {"harmonic_mean": 70.0}}})
    models.look({"accuracy": {"harmonic_mean": 60.0}}, 8, torch.nn.Linear(1, 1))
    assert models.first["update"] == 4
