"""What is measured, against autograd."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_d2.analysis import AnalysisError, analyze
from mtl_d2.analysis.result import ALL, LAYER, STAGE

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "balancing")]

from toy import batch, toy  # noqa: E402

BOTH = ("detection", "semantic")


def by_hand(model, samples, task):
    """The gradient of a task's mean loss by parameter, in one graph of the whole network."""
    model.zero_grad()
    chosen = [s for s in samples if task in s["tasks"]]
    features = model.shared_features(torch.stack([s["image"] for s in chosen]))
    coarse, fine = features["coarse"], features["fine"]
    x = {"detection": coarse, "semantic": fine}.get(task, fine + coarse)
    error = model.heads[task](x)[:, 0] - torch.stack([s["target"] for s in chosen])
    (error**2).mean().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def row(gradients, *modules):
    return torch.cat([g.flatten() for name, g in gradients.items() if name.rpartition(".")[0] in modules])


def part(analysis, name):
    return next(p for p in analysis.parts if p.name == name)


def test_cosines_and_norms_are_those_of_autograd():
    model = toy()
    batches = [batch(BOTH, BOTH, ("semantic",), seed=k) for k in range(3)]
    analysis = analyze(model, batches)
    layers = {"trunk.0": ("trunk.0",), "trunk.3": ("trunk.3",), "all shared parameters": ("trunk.0", "trunk.3", "fine")}
    for name, modules in layers.items():
        expected, norms = [], []
        for samples in batches:
            a, b = (row(by_hand(model, samples, task), *modules) for task in BOTH)
            expected.append(float(a @ b / (a.norm() * b.norm())))
            norms.append(float(a.norm()))
        estimate = analysis.cosines[part(analysis, name), "detection", "semantic"]
        assert estimate.mean == pytest.approx(sum(expected) / 3, abs=1e-12)
        assert estimate.low <= estimate.mean <= estimate.high
        assert analysis.norms[part(analysis, name), "detection"].mean == pytest.approx(
            math.prod(norms) ** (1 / 3), rel=1e-12
        )


def test_nothing_is_said_of_a_layer_that_one_task_alone_moves():
    analysis = analyze(toy(), [batch(BOTH, BOTH)])
    assert (part(analysis, "fine"), "semantic") in analysis.norms
    assert (part(analysis, "fine"), "detection") not in analysis.norms
    assert (part(analysis, "fine"), "detection", "semantic") not in analysis.cosines
    assert (part(analysis, "unused"), "semantic") not in analysis.norms


def test_only_batches_that_two_tasks_have_in_common_count_for_them():
    batches = [batch(BOTH), batch(("detection",)), batch(("detection",), ("semantic",)), batch(())]
    analysis = analyze(toy(), batches)
    assert analysis.batches == {"detection": 3, "semantic": 2}
    assert analysis.together == {BOTH: 2}
    whole = analysis.at(ALL)[0]
    assert analysis.cosines[whole, "detection", "semantic"].batches == 2
    assert analysis.norms[whole, "detection"].batches == 3
    assert analysis.empty == 1


def test_micro_batches_give_the_same_gradients():
    batches = [batch(BOTH, BOTH, ("semantic",), BOTH)]
    once, twice = (analyze(toy(), batches, accumulate=k) for k in (1, 2))
    assert all(twice.cosines[key].mean == pytest.approx(e.mean, abs=1e-12) for key, e in once.cosines.items())


def test_the_model_is_left_as_it_was():
    model = toy(norm=nn.BatchNorm1d(6))
    model.eval()
    model.heads.train()
    model.fine.weight.grad = torch.ones(3, 5, dtype=torch.float64)
    torch.manual_seed(5)
    before, modes = {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]
    state = torch.get_rng_state()
    analyze(model, [batch(BOTH, BOTH, BOTH)])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.fine.weight.grad, torch.ones(3, 5, dtype=torch.float64))
    assert model.trunk[0].weight.grad is None


class Drifting(nn.Module):
    """Doubles what it is given once more in each pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones((), dtype=torch.float64))

    def forward(self, x):
        self.factor *= 2
        return x * self.factor


def test_each_batch_finds_the_same_model():
    analysis = analyze(toy(norm=Drifting()), [batch(BOTH), batch(BOTH)])
    assert all(e.low == pytest.approx(e.high, rel=1e-12) for e in analysis.norms.values())


def test_random_draws_do_not_depend_on_what_was_drawn_before():
    model, found = toy(norm=nn.Dropout(0.5)), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(analyze(model, [batch(BOTH, BOTH, BOTH)]).norms)
    assert {key: e.mean for key, e in found[0].items()} == {key: e.mean for key, e in found[1].items()}


def test_a_stage_is_all_its_layers_together_and_parts_come_as_they_run():
    analysis = analyze(toy(), [batch(BOTH)])
    stages, layers = analysis.at(STAGE), analysis.at(LAYER)
    assert [layer.name for layer in layers] == ["trunk.0", "trunk.3", "fine", "unused"]
    assert sum(p.parameters for p in stages) == sum(p.parameters for p in layers) == analysis.at(ALL)[0].parameters
    for stage in stages:
        of_stage = [analysis.norms.get((p, "semantic")) for p in layers if p.stage == stage.name]
        squares = sum(norm.mean**2 for norm in of_stage if norm)
        norm = analysis.norms.get((stage, "semantic"))
        assert (norm.mean**2 if norm else 0) == pytest.approx(squares, rel=1e-12)


class Frozen(nn.Module):
    """Sharing nothing that is trained."""

    def __new__(cls):
        model = toy()
        for name, p in model.named_parameters():
            p.requires_grad_(name.startswith("heads"))
        return model


def nan_labels():
    samples = batch(BOTH)
    samples[0]["target"] = torch.tensor(math.nan, dtype=torch.float64)
    samples[0]["file_name"] = "street.jpg"
    return [samples]


@pytest.mark.parametrize(
    ("model", "batches", "said"),
    [
        pytest.param(lambda: toy(1), lambda: [batch(("detection",))], "one task, detection", id="one_task"),
        pytest.param(Frozen, lambda: [batch(BOTH)], "share no parameter", id="nothing_shared"),
        pytest.param(toy, lambda: [batch(()), []], "none of 2 batches has a label", id="no_label"),
        pytest.param(toy, list, "no batch", id="no_batch"),
        pytest.param(toy, nan_labels, "not finite for task detection .*street.jpg", id="not_finite"),
    ],
)
def test_what_cannot_be_compared_is_said(model, batches, said):
    with pytest.raises(AnalysisError, match=said):
        analyze(model(), batches())
