"""Half precision: what an update is, and what one that overflows leaves behind."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from running import rows, train
from toy import balancer, batch, mclgs, regularizer, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import GROWTH_INTERVAL, INITIAL_SCALE, Precision
from mtl_d2.data.allocation.full import Full
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.loop import MultiTaskLoop

pytestmark = pytest.mark.filterwarnings("ignore")
B = ("detection", "semantic")
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture
def amp_cfg(mclgs_cfg):
    mclgs_cfg.SOLVER.AMP.ENABLED = True
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.MAX_ITER, mclgs_cfg.SOLVER.STEPS = 4, ()
    return mclgs_cfg


def amp_trainer_parameters(cfg):
    """The parameters after the updates of detectron2's AMPTrainer, which itself asks for CUDA."""
    torch.manual_seed(3)
    model = build_model(cfg)
    optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
    schedule = MultiTaskTrainer.build_lr_scheduler(cfg, optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=cfg.MTL.AMP_DTYPE == "float16")
    batches = iter(MultiTaskTrainer.build_train_loader(cfg))
    with torch.jit.optimized_execution(False), EventStorage():
        for _ in range(cfg.SOLVER.MAX_ITER):
            with torch.autocast("cpu", HALF[cfg.MTL.AMP_DTYPE]):
                losses = sum(model(next(batches)).values())
            optimizer.zero_grad()
            scaler.scale(losses).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
    return model.state_dict()


@pytest.mark.parametrize("dtype", HALF)
def test_equal_weights_and_sum_are_amp_trainer_bit_for_bit(amp_cfg, dtype):
    amp_cfg.MTL.AMP_DTYPE = dtype
    amp_cfg.MTL.GRADIENT.RESCALE, amp_cfg.MTL.GRADIENT.AGGREGATOR = "", "sum"
    ours = train(amp_cfg).model.state_dict()
    for name, value in amp_trainer_parameters(amp_cfg).items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("dtype", HALF)
def test_detector_trains_and_keeps_parameters_and_gramian_in_full_precision(amp_cfg, dtype):
    amp_cfg.MTL.AMP_DTYPE = dtype
    trainer = train(amp_cfg)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert all(math.isfinite(value) for value in rows(amp_cfg)[-1].values())
    found = rows(amp_cfg)[1]  # before an update may overflow in half precision
    assert ("amp/scale" in found) == (dtype == "float16")
    amp_cfg.SOLVER.AMP.ENABLED = False
    train(amp_cfg)
    full = rows(amp_cfg)[-amp_cfg.SOLVER.MAX_ITER :][1]
    assert full["iteration"] == found["iteration"]
    assert found["cosine/detection_semantic"] != full["cosine/detection_semantic"]
    assert found["total_loss"] == pytest.approx(full["total_loss"], rel=0.02)


def test_resumed_run_has_scale_and_parameters_of_one_that_never_stopped(amp_cfg, tmp_path):
    amp_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    whole = train(amp_cfg)
    amp_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(amp_cfg, until=2)
    resumed = train(amp_cfg, resume=True)
    assert resumed._trainer.precision.state_dict() == whole._trainer.precision.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def loop(scale=INITIAL_SCALE, dtype=torch.float16, **choices):
    """A loop around the toy model, in float64 but with the loss scale of float16."""
    model, built = toy(2, choices.pop("norm", None)), balancer(2, **choices)
    precision = Precision(dtype)
    precision.dtype = None
    precision.scale = scale
    optimizer = torch.optim.SGD([*model.parameters(), *built.parameters()], lr=0.05, momentum=0.9)
    batches = [batch(B, B, B, seed=seed) for seed in range(6)]
    made = MultiTaskLoop(model, optimizer, built, lambda start: batches, Full(built.setup, 3), precision=precision)
    made.storage = EventStorage(0)
    return made


def update(made):
    with made.storage as storage:
        made.run_step()
        made.iter += 1
        storage.step()
    return storage


def state(made):
    """Everything but the scale and the position in the stream."""
    found = {**made.model.state_dict(), **made.balancer.state_dict()}
    for k, buffers in made.optimizer.state_dict()["state"].items():
        found |= {f"momentum {k} {name}": value for name, value in buffers.items() if value is not None}
    return {name: value.clone() for name, value in found.items()}


def overflow_at(place):
    """A hook's gradient that is infinite at the ``place``-th time it is taken."""
    calls = []

    def hook(gradient):
        calls.append(1)
        return gradient * float("inf") if len(calls) == place else gradient

    return hook


CHOICES = {
    "one backward": {},
    "mclgs": lambda: {"built": stage(2, "mean", mclgs(2, a0=0.7, ema=0.5))},
    "nash": lambda: {"built": stage(2, "nash_mtl", every=3)},
    "uncertainty": lambda: {"scalar": scalarization(2, "uncertainty")},
    "dwa": lambda: {"scalar": scalarization(2, "dwa", period=1)},
    "famo": lambda: {"scalar": scalarization(2, "famo")},
    "gradnorm": lambda: {"scalar": scalarization(2, "gradnorm")},
    "dtp": lambda: {"scalar": scalarization(2, "dtp", source="training")},
    "cosreg": lambda: {"regularizer": regularizer(2)},
    "split": lambda: {"step": "split", "scalar": scalarization(2, "imtl_l")},
    "lookahead": lambda: {"step": "lookahead", "built": stage(2, "mean", mclgs(2, a0=0.7))},
    "batch norm": lambda: {"norm": torch.nn.BatchNorm1d(6)},
}
PLACES = {"trunk": lambda model: model.trunk[0].weight, "head": lambda model: model.heads["semantic"].weight}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CHOICES)
def test_an_update_that_overflows_changes_nothing_but_the_scale(name, place):
    made = loop(**(CHOICES[name]() if callable(CHOICES[name]) else {}))
    update(made)
    before = state(made)
    handle = PLACES[place](made.model).register_hook(lambda gradient: gradient * float("inf"))
    storage = update(made)
    handle.remove()
    after = state(made)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert made.precision.scale == INITIAL_SCALE / 2
    assert storage.latest()["amp/scale"][0] == INITIAL_SCALE / 2
    assert storage.latest()["amp/skipped"] == (1, 1)
    update(made)
    assert any(not torch.equal(before[key], value) for key, value in state(made).items())


@pytest.mark.parametrize(
    ("step", "module", "place"),
    [
        ("split", "fine", 1),
        ("split", "heads.semantic", 2),  # at the new shared parameters
        ("lookahead", "fine", 1),  # of the inner step
        ("lookahead", "fine", 2),
        ("lookahead", "heads.semantic", 3),
    ],
)
def test_all_passes_of_an_update_share_one_verdict(step, module, place):
    made = loop(step=step)
    update(made)
    before = state(made)
    made.model.get_submodule(module).weight.register_hook(overflow_at(place))
    update(made)
    assert made.precision.skipped == 1
    assert all(torch.equal(before[key], value) for key, value in state(made).items())


def test_scale_of_one_does_not_overflow_so_the_run_stops():
    made = loop(scale=1.0)
    made.model.heads["semantic"].weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="update 0: the gradient is not finite for the head of task semantic"):
        update(made)


CHECKED = {
    "one backward": ({}, "heads.semantic", "the head of task semantic"),
    "shared, one backward": ({}, "fine", "the shared parameters"),
    "heads of the exact path": ({"built": stage(2, "mean", mclgs(2))}, "heads.semantic", "the head of task semantic"),
    "rows": ({"built": stage(2, "mean", mclgs(2))}, "fine", "task semantic"),
}


@pytest.mark.parametrize("name", CHECKED)
def test_gradient_that_is_not_finite_stops_the_run_before_anything_moves(name):
    choices, module, said = CHECKED[name]
    made = loop(dtype=torch.bfloat16, scale=1.0, **choices)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.model.get_submodule(module).weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(FloatingPointError, match=f"update 0: .* is not finite for {said}"):
        update(made)
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())


def test_regularizers_gradient_that_is_not_finite_stops_the_run(monkeypatch):
    made = loop(dtype=None, scale=1.0, regularizer=regularizer(2))
    monkeypatch.setattr(
        type(made.balancer.regularizer),
        "gradient",
        lambda self, oracle, *rest: (
            [p * float("nan") for p in oracle.shared],
            [[None] * len(h) for h in oracle.heads],
        ),
    )
    with pytest.raises(FloatingPointError, match="the gradient is not finite for the shared parameters"):
        update(made)


@pytest.mark.parametrize("name", ["mclgs", "one backward", "cosreg", "lookahead"])
def test_scale_is_divided_out_exactly(name):
    found = []
    for dtype in (None, torch.float16):
        made = loop(dtype=dtype, scale=1024.0 if dtype else 1.0, **(CHOICES[name]() if callable(CHOICES[name]) else {}))
        update(made)
        found.append(state(made))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_features_gramian_is_without_the_scale():
    found = []
    for scale in (1.0, 1024.0):
        oracle = Oracle(toy(2), precision=Precision(torch.float16))
        oracle.precision.dtype = None
        oracle.precision.scale = scale
        oracle.load(batch(B, B))
        found.append(oracle.feature_gradients().features)
    assert torch.equal(*found)


def test_scale_doubles_after_two_thousand_updates_without_an_overflow():
    precision = Precision(torch.float16)
    precision.update(overflowed=True)
    for _ in range(GROWTH_INTERVAL - 1):
        precision.update(overflowed=False)
    assert precision.scale == INITIAL_SCALE / 2
    precision.update(overflowed=False)
    assert precision.scale == INITIAL_SCALE
