"""A task's loss of two label sources, on a network small enough to write the formula down."""

import pytest
import torch
from toy import balancer, mclgs, regularizer, scalarization, stage
from two_sources import formula, taught_batch, taught_toy

from mtl_d2.balancing import Oracle
from mtl_d2.tasks.task import LabelSource, Task

D, S, B, N = ("detection",), ("semantic",), ("detection", "semantic"), ()
UNIONS = {
    "both tasks on every image": [(D, B), (S, B), (D, B), (B, B)],
    "some images without a teacher": [(D, S), (S, N), (B, D), (N, B), (D, N)],
    "pseudo labels alone": [(N, B), (N, D), (N, B)],
    "no pseudo label": [(D, N), (S, N)],
    "a task with pseudo labels alone": [(D, S), (D, B), (D, N)],
}
METHODS = {
    "mclgs": lambda: {"built": stage(2, "mean", mclgs(2, a0=0.7))},
    "pcgrad": lambda: {"built": stage(2, "pcgrad")},
    "graddrop": lambda: {"built": stage(2, "graddrop")},
    "fixed weights, one backward": lambda: {"built": stage(2, "sum"), "scalar": scalarization(2, weights=(1.7, 0.3))},
    "fixed weights, mgda": lambda: {"built": stage(2, "mgda"), "scalar": scalarization(2, weights=(1.7, 0.3))},
    "uncertainty": lambda: {"built": stage(2, "cagrad"), "scalar": scalarization(2, "uncertainty")},
    "gradnorm": lambda: {"scalar": scalarization(2, "gradnorm")},
    "cosreg": lambda: {"regularizer": regularizer(2, alpha=3.0)},
    "cosreg by differences": lambda: {"regularizer": regularizer(2, alpha=3.0, double_backward="finite")},
    "split": lambda: {"step": "split"},
    "lookahead": lambda: {"step": "lookahead"},
}


def update(samples, method, accumulate=1):
    """Gradients and losses of one update."""
    model = taught_toy()
    oracle = Oracle(model, accumulate=accumulate)
    oracle.load(samples)
    result = balancer(2, **METHODS[method]())(oracle, 0, lambda: None)
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()} | {
        "losses": result.losses
    }


def test_terms_are_named_by_source_and_the_sources_of_a_task_divide_its_terms():
    task = Task("t", ("loss_a", "loss_b"), ()).with_sources((LabelSource("", 0.8), LabelSource("pseudo/", 0.2)))
    assert task.loss_keys == ("loss_a", "loss_b", "pseudo/loss_a", "pseudo/loss_b")
    terms = {"pseudo/loss_b": 1, "loss_a": 2}
    assert task.by_source(terms) == [{"loss_a": 2}, {"pseudo/loss_b": 1}]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("union", UNIONS)
def test_task_gradients_are_those_of_the_formula(union, accumulate):
    samples = taught_batch(*UNIONS[union])
    model = taught_toy()
    oracle = Oracle(model, accumulate=accumulate)
    oracle.load(samples)
    found = oracle.gradients()
    for i, task in enumerate(B):
        loss = formula(model, samples, task)
        assert bool(found.present[i]) == any(task in s["tasks"] for s in samples)
        if not found.present[i]:
            continue
        parameters = [*oracle.shared, *oracle.heads[i]]
        expected = torch.autograd.grad(loss, parameters, allow_unused=True)
        assert float(found.losses[i]) == pytest.approx(loss.item(), rel=1e-12)
        for own, wanted in zip([*found.rows[i], *found.heads[i]], expected, strict=True):
            if wanted is not None:
                torch.testing.assert_close(own, wanted, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_make_the_update_of_one_batch(method):
    samples = taught_batch(*UNIONS["some images without a teacher"])
    whole = update(samples, method)
    for accumulate in (2, 4):
        for name, value in update(samples, method, accumulate).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-7 if "differences" in method else 1e-9, atol=1e-12)


def test_logged_terms_are_weighted_and_add_up_to_the_loss():
    oracle = Oracle(taught_toy())
    oracle.load(taught_batch(*UNIONS["both tasks on every image"]))
    found = oracle.gradients()
    assert set(found.terms) == {"loss_detection", "pseudo/loss_detection", "loss_semantic", "pseudo/loss_semantic"}
    assert sum(found.terms.values()) == pytest.approx(float(found.losses.sum()), rel=1e-12)


def test_task_that_a_draw_leaves_out_is_supervised_by_neither_source():
    samples = [{**s, "tasks": D} for s in taught_batch((B, B), (B, B))]
    oracle = Oracle(taught_toy())
    oracle.load(samples)
    assert oracle.gradients().present.tolist() == [True, False]
