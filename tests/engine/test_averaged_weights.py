"""Averaged weights: their numbers, beside the model's in evaluations, in checkpoints, in a file of their own."""

from pathlib import Path

import pytest
import torch
from bars import NAME, bars_cfg
from running import rows, train

from mtl_d2.averages import Averages
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_scaling import follow_processes
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.averaged_weights import AveragedWeights
from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.engine.hooks import CheckpointHook
from mtl_d2.evaluation.results import EvaluationResults

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def cfg(tmp_path):
    cfg = bars_cfg(tmp_path / "output")
    cfg.MTL.EMA.DECAY = 0.5
    return cfg


def averages_of(trainer):
    return next(hook for hook in trainer._hooks if isinstance(hook, AveragedWeights)).averages


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], value) for name, value in other.items())


def test_first_updates_are_averaged_by_their_number_and_later_ones_by_the_decay():
    weight, averages = torch.zeros(1), Averages(0.25)
    averages.begin({"w": weight})
    expected = 0.0
    for n, decay in [(1, 2 / 11), (2, 0.25), (3, 0.25)]:  # (1 + n) / (10 + n) is 3 / 12 from the second update on
        averages.add({"w": weight + n})
        expected = decay * expected + (1 - decay) * n
        assert averages.tensors["w"].item() == pytest.approx(expected)
    assert weight.item() == 0.0


def test_average_of_weights_that_stand_still_is_these_weights_bit_for_bit():
    weight = {"w": torch.randn(50)}
    averages = Averages(0.999)
    averages.begin(weight)
    for _ in range(5):
        averages.add(weight)
    assert torch.equal(averages.tensors["w"], weight["w"])


def test_exchange_moves_memory_and_is_undone_by_a_second_one():
    model, averages = torch.nn.Linear(2, 2), Averages(0.9)
    parameters = dict(model.named_parameters())
    averages.begin(parameters)
    averages.tensors["bias"] += 1
    before, place = model.bias.detach().clone(), model.bias.data_ptr()
    averages.exchange(parameters)
    assert torch.equal(model.bias, before + 1)
    assert torch.equal(averages.tensors["bias"], before)
    averages.exchange(parameters)
    assert model.bias.data_ptr() == place


def test_averages_change_nothing_in_the_training(cfg):
    averaged = train(cfg).model.state_dict()
    cfg.MTL.EMA.DECAY = 0.0
    assert same(averaged, train(cfg).model.state_dict())


def test_channels_last_tensors_stay_so():
    weight = {"w": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)}
    averages, other = Averages(0.9), Averages(0.9)
    averages.begin(weight)
    other.load_state_dict(averages.state_dict(), weight)
    for one in (averages, other):
        assert one.tensors["w"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("stop", [4, 7])
def test_resumed_run_has_the_averages_of_one_that_never_stopped(cfg, stop):
    whole = averages_of(train(cfg))
    cfg.OUTPUT_DIR += "_resumed"
    Path(cfg.OUTPUT_DIR).mkdir()
    train(cfg, until=stop)
    resumed = averages_of(train(cfg, resume=True))
    assert same(resumed.tensors, whole.tensors)
    assert resumed.updates == whole.updates == 12


def test_checkpoint_that_had_no_averages_begins_them(cfg):
    cfg.MTL.EMA.DECAY = 0.0
    train(cfg, until=4)
    cfg.MTL.EMA.DECAY = 0.5
    assert averages_of(train(cfg, resume=True)).updates == 8


def test_averages_are_in_the_checkpoint_of_the_same_update(cfg):
    kinds = [type(hook) for hook in MultiTaskTrainer(cfg)._hooks]
    assert kinds.index(AveragedWeights) < kinds.index(CheckpointHook)


def test_update_that_float16_skips_does_not_count(tmp_path):
    model, skipped = torch.nn.Linear(1, 1), [0]
    hook = AveragedWeights(model, 0.9, str(tmp_path), skipped=lambda: skipped[0])
    hook.before_train()
    for overflows in (0, 1, 0):
        hook.before_step()
        skipped[0] += overflows
        hook.after_step()
    assert hook.averages.updates == 2


def test_evaluation_has_the_averages_beside_the_weights(cfg, monkeypatch):
    seen = []

    def test(cls, cfg, model, evaluators=None):
        seen.append((cfg.OUTPUT_DIR, {name: p.detach().clone() for name, p in model.named_parameters()}))
        return EvaluationResults({"accuracy": {"class_left": float(len(seen))}})

    monkeypatch.setattr(MultiTaskTrainer, "test", classmethod(test))
    cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD = (NAME,), 6
    trainer = train(cfg)
    assert trainer._last_eval_results == {"accuracy": {"class_left": 3.0}, "accuracy_EMA": {"class_left": 4.0}}
    (folder, weights), (beside, averaged) = seen[2:]
    assert same(weights, dict(trainer.model.named_parameters()))
    assert same(averaged, averages_of(trainer).tensors)
    assert not same(averaged, weights)
    assert beside != folder
    assert any("accuracy_EMA/class_left" in row for row in rows(cfg))


def test_weights_are_the_models_again_after_an_evaluation_that_raises(tmp_path):
    model = torch.nn.Linear(2, 2)
    hook = AveragedWeights(model, 0.9, str(tmp_path))
    hook.before_train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    hook.averages.tensors["bias"] += 1

    def evaluate():
        with hook.in_model():
            assert not torch.equal(model.bias, before["bias"])
            raise RuntimeError("the tool died")

    with pytest.raises(RuntimeError, match="the tool died"):
        evaluate()
    assert same(dict(model.named_parameters()), before)


def test_run_leaves_the_averages_in_a_file_that_can_be_evaluated(cfg):
    cfg.DATASETS.TEST = (NAME,)
    trainer = train(cfg)
    model = MultiTaskTrainer.build_model(cfg)
    checkpointer = MultiTaskCheckpointer(model, cfg.OUTPUT_DIR)
    checkpointer.classes = trainer.checkpointer.classes
    checkpointer.load_to_evaluate(str(Path(cfg.OUTPUT_DIR, "model_ema.pth")), resume=False)
    assert same(dict(model.named_parameters()), averages_of(trainer).tensors)
    assert MultiTaskTrainer.test(cfg, model)["accuracy"] == trainer._last_eval_results["accuracy_EMA"]


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range_is_refused(cfg, decay):
    cfg.MTL.EMA.DECAY = decay
    with pytest.raises(ConfigError, match=r"MTL.EMA.DECAY must be a finite number >= 0 and < 1, got"):
        check_mtl_config(cfg)


def test_decay_follows_the_number_of_processes(cfg):
    cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.MTL.EMA.DECAY = 1, 0.9
    assert abs(follow_processes(cfg, 2).MTL.EMA.DECAY - 0.81) < 1e-12
