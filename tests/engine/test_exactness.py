"""The exact path on a real detector, in float64, against an ordinary backward pass of the sum."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from small import sample, small_model

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.rows import combine
from mtl_d2.tasks.task import head_parameters

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")


@pytest.mark.parametrize("sets", [[B, B], [D, S, D], [D, B, S]], ids=["same images", "disjoint", "mixed"])
def test_rows_add_up_to_simple_trainers_gradient(sets):
    model = small_model().double()
    samples = [sample(*tasks, seed=i, size=(64, 96) if i else (48, 80)) for i, tasks in enumerate(sets)]
    start = model.loss_normalizer.clone()
    with EventStorage(), torch.jit.optimized_execution(False):
        sum(model(samples).values()).backward()
        expected = {n: p.grad for n, p in model.named_parameters()}
        model.loss_normalizer.copy_(start)
        oracle = Oracle(model)
        oracle.load(samples)
        found = oracle.gradients()
    rows = dict(zip([id(p) for p in oracle.shared], combine(found.rows, [1.0, 1.0]), strict=True))
    heads = {
        id(p): g
        for task, own in zip(model.tasks, found.heads, strict=True)
        for p, g in zip(head_parameters(model, task), own, strict=True)
    }
    for name, parameter in model.named_parameters():
        ours = (rows | heads)[id(parameter)]
        size = expected[name].norm()
        assert (ours - expected[name]).norm() <= 1e-10 * size, name
