import pytest
import torch
from toy import context, stage


def drawn(num_tasks, dimension=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)


def nash(rows, built=None, present=None, update=0):
    return (built or stage(len(rows), "nash_mtl"))(rows @ rows.T, context(len(rows), present, update=update)).shared


def test_orthogonal_gradients_by_hand():
    # G = diag(1, 9) / 5 after division by the mean diagonal entry: a = sqrt(5), sqrt(5) / 3
    rows = torch.tensor([[1.0, 0], [0, 3]], dtype=torch.float64)
    assert nash(rows).tolist() == pytest.approx([5**0.5, 5**0.5 / 3])


@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_weights_solve_the_papers_equation(num_tasks):
    for seed in range(5):
        rows = drawn(num_tasks, seed=seed) * 10 ** torch.linspace(-6, 6, num_tasks, dtype=torch.float64)[:, None]
        G = rows @ rows.T / (rows.norm() ** 2 / num_tasks)
        a = nash(rows)
        assert a.min() > 0
        torch.testing.assert_close((G @ a) * a, torch.ones(num_tasks, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_direction_does_not_depend_on_the_lengths():
    rows = drawn(3)
    lengths = torch.tensor([1e-5, 1.0, 1e7], dtype=torch.float64)[:, None]
    one, other = nash(rows) @ rows, nash(rows * lengths) @ (rows * lengths)
    torch.testing.assert_close(one / one.norm(), other / other.norm(), rtol=1e-8, atol=1e-8)


def test_no_direction_has_a_larger_product_of_improvements():
    rows = drawn(3, 3, seed=2)
    best = torch.nn.functional.normalize(nash(rows) @ rows, dim=0)
    others = torch.nn.functional.normalize(drawn(5000, 3, seed=3), dim=1)
    helped = (others @ rows.T).clamp(min=0)
    assert helped.prod(1).max() <= (rows @ best).prod() * (1 + 1e-9)


def test_weights_are_kept_for_some_updates_and_survive_a_checkpoint():
    one, other = drawn(2, seed=0), drawn(2, seed=1)
    built = stage(2, "nash_mtl", every=3)
    first = nash(one, built, update=0)
    assert torch.equal(nash(other, built, update=1), first)
    resumed = stage(2, "nash_mtl", every=3)
    resumed.load_state_dict(built.state_dict())
    assert torch.equal(nash(other, resumed, update=2), first)
    assert torch.equal(nash(other, resumed, update=3), nash(other))


def test_weights_of_other_tasks_are_not_kept():
    rows = drawn(3)
    built = stage(3, "nash_mtl", every=10)
    nash(rows, built, update=0)
    found = nash(rows, built, [True, False, True], update=1)
    torch.testing.assert_close(found[[0, 2]], nash(rows[[0, 2]]))
    assert torch.equal(nash(rows, built, update=2), nash(rows))


def test_opposite_gradients_nearly_cancel():
    rows = torch.tensor([[1.0, 2], [-2, -4]], dtype=torch.float64)
    assert (nash(rows) @ rows).norm() < 1e-3
