import itertools

import pytest
import torch
from toy import context, stage


def drawn(num_tasks, dimension=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)


def upgrad(rows):
    return stage(len(rows), "upgrad")(rows @ rows.T, context(len(rows))).shared


def closest(rows, i):
    """The point of {x: rows @ x >= 0} that is closest to row i, by trying all sets of active constraints."""
    best = None
    for size in range(len(rows)):
        for active in itertools.combinations(range(len(rows)), size):
            A = rows[list(active)]
            x = rows[i] - torch.linalg.pinv(A) @ (A @ rows[i])
            distance = (x - rows[i]).norm()
            if (rows @ x).min() >= -1e-10 and (best is None or distance < best[0]):
                best = (distance, x)
    return torch.zeros_like(rows[i]) if best is None else best[1]


def test_two_tasks_by_hand():
    # g1 = (2, 0), g2 = (-1, 1): p1 = g1 + 2/2 g2, p2 = g2 + 2/4 g1, and the mean
    assert upgrad(torch.tensor([[2.0, 0], [-1, 1]], dtype=torch.float64)).tolist() == pytest.approx([0.75, 1.0])


def test_without_conflict_it_is_the_mean():
    assert upgrad(torch.tensor([[1.0, 0], [1, 1]], dtype=torch.float64)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("num_tasks", [2, 3, 4])
def test_equals_the_projections_found_by_trial(num_tasks):
    for seed in range(5):
        rows = drawn(num_tasks, 4, seed)
        expected = torch.stack([closest(rows, i) for i in range(num_tasks)]).mean(0)
        torch.testing.assert_close(upgrad(rows) @ rows, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_no_task_is_harmed(num_tasks):
    for seed in range(5):
        rows = drawn(num_tasks, seed=seed) * 10 ** torch.linspace(-4, 4, num_tasks, dtype=torch.float64)[:, None]
        update = upgrad(rows) @ rows
        assert (rows @ update / rows.norm(dim=1) / rows.norm(dim=1).max()).min() > -1e-11


def test_opposite_gradients_give_no_update():
    rows = torch.tensor([[1.0, 2], [-2, -4]], dtype=torch.float64)
    assert (upgrad(rows) @ rows).norm() < 1e-12
