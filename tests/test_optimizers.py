"""Optimizers by name: groups, rates, clipping, what they follow; and that a run with each goes on as it was."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.solver import build_lr_scheduler
from detectron2.solver import build_optimizer as detectron2s
from torch import nn

from mtl_d2.config import add_mtl_config
from mtl_d2.optimizers import build_optimizer, not_followed, optimizer_mistakes, set_apart


class Net(nn.Module):
    """A trunk below a pyramid, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.backbone.output = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.backbone.output(self.backbone.bottom_up(x)))


def net():
    torch.manual_seed(0)
    return Net()


def solver_cfg(name="sgd", **solver):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.OPTIMIZER = name
    cfg.SOLVER.BASE_LR = 0.01
    cfg.merge_from_list([word for key, value in solver.items() for word in ("SOLVER." + key.replace("__", "."), value)])
    return cfg


def after_updates(model, optimizer, updates=3):
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def rates(optimizer, model):
    """Learning rate by the name of a parameter."""
    names = {p: name for name, p in model.named_parameters()}
    return {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("clip", ["value", "norm"])
def test_sgd_is_detectron2s_bit_for_bit(clip):
    cfg = solver_cfg(NESTEROV=True, BIAS_LR_FACTOR=2.0, CLIP_GRADIENTS__ENABLED=True, CLIP_GRADIENTS__CLIP_TYPE=clip)
    ours, theirs = net(), net()
    found = after_updates(ours, build_optimizer(cfg, ours))
    assert all(map(torch.equal, found, after_updates(theirs, detectron2s(cfg, theirs))))


def test_arguments_of_the_text_reach_torchs_optimizer():
    ours, theirs = net(), net()
    cfg = solver_cfg("AdamW(betas=(0.8, 0.9), eps=1e-4)", WEIGHT_DECAY=0.1, WEIGHT_DECAY_NORM=0.1)
    expected = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.1)
    assert all(map(torch.equal, after_updates(ours, build_optimizer(cfg, ours)), after_updates(theirs, expected)))


def test_detectron2s_clipping_goes_with_every_optimizer():
    model = net()
    cfg = solver_cfg("rmsprop(alpha=0.5)", CLIP_GRADIENTS__ENABLED=True, CLIP_GRADIENTS__CLIP_VALUE=1e-3)
    optimizer = build_optimizer(cfg, model)
    model(torch.rand(2, 3, 8, 8)).sum().mul(100).backward()
    optimizer.step()
    assert max(p.grad.abs().max() for p in model.parameters()) <= 1e-3


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_trunk_has_its_factor_in_every_update_of_the_schedule(name):
    model = net()
    cfg = solver_cfg(name, BACKBONE_LR_FACTOR=0.25, BIAS_LR_FACTOR=2.0, MAX_ITER=5, STEPS=(3,), WARMUP_ITERS=2)
    cfg.SOLVER.WARMUP_FACTOR = 0.5
    optimizer = build_optimizer(cfg, model)
    schedule = build_lr_scheduler(cfg, optimizer)
    for factor in (0.5, 0.75, 1.0, 0.1, 0.1):
        for parameter, rate in rates(optimizer, model).items():
            trunk, bias = parameter.startswith("backbone.bottom_up."), parameter.endswith("bias")
            assert rate == pytest.approx(0.01 * factor * (0.25 if trunk else 1) * (2 if bias else 1))
        optimizer.step()
        schedule.step()


def test_setting_apart_changes_the_rates_alone():
    model = net()
    optimizer = build_optimizer(solver_cfg(), model)
    before = {p: group for group in optimizer.param_groups for p in group["params"]}
    before = {p: {k: v for k, v in group.items() if k not in ("params", "lr")} for p, group in before.items()}
    set_apart(optimizer, list(model.backbone.bottom_up.parameters()), 0.5)
    for group in optimizer.param_groups:
        for p in group["params"]:
            assert {k: v for k, v in group.items() if k not in ("params", "lr")} == before.pop(p)
    assert not before


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw(amsgrad=True)", "rmsprop", "adan", "lion", "adafactor"])
def test_state_of_every_optimizer_can_be_gone_on_with(name, tmp_path):
    cfg = solver_cfg(name, BACKBONE_LR_FACTOR=0.5)
    assert optimizer_mistakes(cfg) == []
    model = net()
    optimizer = build_optimizer(cfg, model)
    after_updates(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    again = net()
    other = build_optimizer(cfg, again)
    again.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    assert all(map(torch.equal, after_updates(model, optimizer), after_updates(again, other)))


def test_overflow_of_the_scaler_leaves_out_the_step():
    model = net()
    optimizer = build_optimizer(solver_cfg("adamw"), model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
    before = [p.detach().clone() for p in model.parameters()]
    scaler.scale(model(torch.rand(2, 3, 8, 8)).square().sum() * 1e30).backward()
    scaler.step(optimizer)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sgd", []),
        ("adamw", ["SOLVER.MOMENTUM", "SOLVER.NESTEROV"]),
        ("rmsprop", ["SOLVER.NESTEROV"]),
        ("rmsprop(momentum=0.5)", ["SOLVER.MOMENTUM", "SOLVER.NESTEROV"]),
        ("rprop", ["SOLVER.MOMENTUM", "SOLVER.NESTEROV", "SOLVER.WEIGHT_DECAY"]),
    ],
)
def test_what_is_followed_is_what_the_signature_has(name, keys):
    assert not_followed(solver_cfg(name)) == keys


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adamww", "adamww is no optimizer of detectron2's ('sgd'), torch's or timm's; near are adamw"),
        ("adamw(beta=0.9)", "got an unexpected keyword argument 'beta'; its arguments are (params, lr=0.001, betas="),
        (
            "adamw(betas=(2.0, 0.9))",
            "fails in a step of convolutions and norms (Invalid beta parameter at index 0: 2.0)",
        ),
        ("lbfgs", "fails in a step of convolutions and norms (LBFGS.step() missing 1 required positional argument"),
        ("sparseadam", "fails in a step of convolutions and norms (SparseAdam does not support dense gradients"),
        ("sgd(momentum=0.5)", "'sgd' is detectron2's, which follows SOLVER.MOMENTUM and SOLVER.NESTEROV: no arguments"),
        ("adam(lr=1)", "its learning rate is SOLVER.BASE_LR"),
        ("adam(params=3)", "its parameters are the model's"),
        ("adamw(0.1)", "write its arguments with their names"),
        ("Adam W", "'Adam W' is not a name with arguments"),
    ],
)
def test_optimizer_that_cannot_be_is_said_in_a_line(name, said):
    (line,) = optimizer_mistakes(solver_cfg(name))
    assert said in line
    assert "\n" not in line
