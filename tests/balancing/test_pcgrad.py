import pytest
import torch
from torchjd.aggregation import PCGradWeighting
from toy import context, stage


def gram(*rows):
    rows = torch.tensor(rows, dtype=torch.float64)
    return rows @ rows.T


def test_two_tasks_by_hand():
    # g1 = (2, 0), g2 = (-1, 1): g1.g2 = -2; p1 = g1 + 2/2 g2, p2 = g2 + 2/4 g1
    assert stage(2, "pcgrad")(gram([2, 0], [-1, 1]), context(2)).shared.tolist() == [1.5, 2.0]


def test_without_conflict_it_is_the_sum():
    G = gram([1, 0, 0], [1, 1, 0], [0, 1, 1])
    assert stage(3, "pcgrad")(G, context(3)).shared.tolist() == [1, 1, 1]


@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_equals_torchjd_with_the_same_draws(num_tasks):
    torch.manual_seed(4)
    rows = torch.randn(num_tasks, 4, dtype=torch.float64)
    found = stage(num_tasks, "pcgrad")(rows @ rows.T, context(num_tasks, update=7)).shared
    torch.manual_seed(7)
    torch.testing.assert_close(found, PCGradWeighting()(rows @ rows.T), rtol=1e-10, atol=1e-10)


def test_order_is_that_of_the_update_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    rows = torch.randn(6, 3, dtype=torch.float64)
    before = torch.get_rng_state()
    draw = lambda update: stage(6, "pcgrad")(rows @ rows.T, context(6, update=update)).shared  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)
