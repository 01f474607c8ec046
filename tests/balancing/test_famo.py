import copy
from dataclasses import replace
from itertools import pairwise

import torch
from observed import observed
from torchjd.scalarization import FAMO
from toy import context, scalarization, weighting


def test_first_step_by_hand():
    # log losses fall by 1 and 0: z = 1/2, gradient z * (d - 1/2) = (1/4, -1/4); Adam's first step is lr * sign
    method = weighting(2, "famo", lr=0.1)
    for losses in ([2.718281828459045, 1.0], [1.0, 1.0]):
        method.observe(observed(losses))
    torch.testing.assert_close(method.logits, torch.tensor([-0.1, 0.1], dtype=torch.float64), rtol=1e-6, atol=0)


def test_logits_and_coefficients_are_torchjds_where_the_batch_does_not_change():
    ours, theirs = scalarization(3, "famo", lr=0.05, weight_decay=1e-2), FAMO(3, lr=0.05, weight_decay=1e-2).double()
    torch.manual_seed(0)
    sequence = torch.rand(20, 3, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 1e3])
    for before, after in pairwise(sequence):
        theirs(before)
        theirs.update(after)
    for losses in sequence:
        ours.weighting.observe(observed(losses.tolist()))
    torch.testing.assert_close(ours.weighting.logits, theirs._w.detach(), rtol=1e-12, atol=1e-14)
    mine, other = sequence[0].clone().requires_grad_(), sequence[0].clone().requires_grad_()
    (c,) = torch.autograd.grad(ours(mine, replace(context(3), losses=sequence[0])), [mine])
    (expected,) = torch.autograd.grad(theirs(other), [other])
    torch.testing.assert_close(c, expected, rtol=1e-12, atol=0)


def test_weights_are_convex_over_present_tasks_and_balance_the_losses():
    method = weighting(3, "famo")
    w = method(context(3, [True, True, False], [4.0, 1.0, 0.0]))
    torch.testing.assert_close(w, torch.tensor([0.2, 0.8, 0.0], dtype=torch.float64), rtol=1e-7, atol=0)


def test_absent_task_keeps_its_logit_and_is_compared_with_its_last_loss():
    method = weighting(3, "famo")
    method.observe(observed([1.0, 1.0, 4.0]))
    method.observe(observed([0.5, 1.0, 0.0], [True, True, False]))
    assert method.logits[2] == 0
    assert method.logits[0] < 0 < method.logits[1]
    torch.testing.assert_close(method.last[2].exp(), torch.tensor(4.0, dtype=torch.float64))


def test_state_survives():
    one, two = weighting(2, "famo"), weighting(2, "famo")
    for losses in ([1.0, 2.0], [0.5, 2.5]):
        one.observe(observed(losses))
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for method in (one, two):
        method.observe(observed([0.4, 2.0]))
    assert torch.equal(one.logits, two.logits)
    assert one.logits.abs().min() > 0


def test_a_loss_of_0_does_not_take_all_the_weight():
    assert weighting(2, "famo")(context(2, losses=[0.0, 2.0])).tolist() == [0.0, 1.0]
    assert weighting(2, "famo")(context(2, losses=[0.0, 0.0])).tolist() == [0.0, 0.0]
