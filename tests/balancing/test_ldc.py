import pytest
import torch
from observed import observed
from toy import context, scalarization, weighting


def test_first_update_by_hand():
    scalar = scalarization(2, "ldc", weight=0.25)
    losses = torch.tensor([6.0, 2.0], dtype=torch.float64, requires_grad=True)
    S = scalar(losses, context(2, losses=[6.0, 2.0]))
    assert S.item() == pytest.approx(2.0)  # both are 2 when divided by what they were at first, over the least
    (c,) = torch.autograd.grad(S, losses)
    assert c.tolist() == pytest.approx([1 / 6, 1 / 2])


def test_later_updates_and_their_own_parameters():
    scalar = scalarization(2, "ldc", weight=0.25)
    scalar.weighting.observe(observed([6.0, 2.0]))
    losses = torch.tensor([3.0, 3.0], dtype=torch.float64, requires_grad=True)
    xi = scalar.weighting.xi
    S = scalar(losses, context(2, losses=[3.0, 3.0], update=1))
    l = torch.tensor([1.0, 3.0], dtype=torch.float64)  # noqa: E741  # the paper's letter
    s = xi.softmax(0)
    expected = (s * l).sum() + 0.25 * (s[0] * l[0] - s[1] * l[1]).abs()
    assert S.item() == pytest.approx(expected.item())
    for found, right in zip(torch.autograd.grad(S, [xi]), torch.autograd.grad(expected, [xi]), strict=True):
        torch.testing.assert_close(found, right)


def test_an_update_without_any_task_changes_nothing():
    scalar, nothing = scalarization(2, "ldc"), torch.zeros(2, dtype=torch.float64)
    seen = context(2, present=[False, False], losses=[0.0, 0.0])
    assert scalar.coefficients(seen).tolist() == [0.0, 0.0]
    assert scalar.weighting.xi.grad is None or torch.equal(scalar.weighting.xi.grad, nothing)


def test_its_parameters_bring_the_weighted_losses_together():
    scalar = scalarization(3, "ldc", weight=0.5)
    scalar.weighting.observe(observed([1.0, 1.0, 1.0]))
    losses, xi = [0.2, 1.0, 0.5], scalar.weighting.xi

    def spread():
        terms = xi.detach().softmax(0) * torch.tensor(losses)
        return float(terms.max() - terms.min())

    before = spread()
    for _ in range(100):
        leaf = torch.tensor(losses, dtype=torch.float64)
        (gradient,) = torch.autograd.grad(scalar(leaf, context(3, losses=losses, update=1)), [xi])
        with torch.no_grad():
            xi -= 0.1 * gradient
    assert spread() < 0.5 * before


def test_a_weight_does_not_jump_where_another_task_is_absent():
    built = weighting(2, "ldc", weight=0.0)
    built.observe(observed([100.0, 1.0]))
    assert built(context(2, losses=[100.0, 1.0])).tolist() == pytest.approx([0.005, 0.5])
    assert built(context(2, [True, False], [100.0, 0.0])).tolist() == pytest.approx([0.01, 0.0])


def test_absent_tasks_have_no_weight():
    found = weighting(3, "ldc")(context(3, [True, False, True], [1.0, 5.0, 1.0]))
    assert found[1] == 0
    assert found[[0, 2]].sum().item() == pytest.approx(1)
