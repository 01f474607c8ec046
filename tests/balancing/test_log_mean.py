"""MTL.SCALARIZATION.MEAN log."""

import pytest
import torch
from toy import balancer, batch, context, scalarization, stage, toy

from mtl_d2.balancing import Oracle


def test_sum_of_logarithms_by_hand():
    losses = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    S = scalarization(2, mean="log", weights=(1.0, 3.0))(losses, context(2))
    assert S.item() == pytest.approx(-2 * 0.6931471805599453)
    assert torch.autograd.grad(S, losses)[0].tolist() == [0.5, 6]


def test_a_loss_of_zero_and_an_absent_task_are_left_out():
    scalar = scalarization(3, mean="log")
    losses = torch.tensor([0.0, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
    (c,) = torch.autograd.grad(scalar(losses, context(3, [True, True, False])), losses)
    assert c.tolist() == [0, 0.5, 0]


def test_negative_losses_are_named():
    with pytest.raises(ValueError, match=r"MEAN 'log' needs losses >= 0, got \[-1.0, 1.0\] in update 0"):
        scalarization(2, mean="log")(torch.tensor([-1.0, 1.0], dtype=torch.float64), context(2))


@pytest.mark.parametrize("aggregator", ["sum", "mgda", "cagrad", "imtl_g"])
def test_a_losss_scale_does_not_change_the_update(aggregator):
    moved = []
    for factor in (1.0, 1000.0):
        model = toy()
        original = model.task_losses
        model.task_losses = lambda task, *args, original=original, factor=factor: {
            key: value * (factor if task == "semantic" else 1) for key, value in original(task, *args).items()
        }
        oracle = Oracle(model)
        oracle.load(batch(*[("detection", "semantic")] * 4))
        balancer(2, stage(2, aggregator), scalarization(2, mean="log"))(oracle, 0, lambda: None)
        moved.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*moved)


def test_it_points_where_the_geometric_mean_does():
    losses = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    one, other = (
        torch.autograd.grad(scalarization(2, mean=m)(losses, context(2)), losses)[0] for m in ("log", "geometric")
    )
    torch.testing.assert_close(one / one.norm(), other / other.norm())
