import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from test_nash_mtl import drawn, nash
from toy import complaints, context, stage

from mtl_d2.balancing.registry import AGGREGATORS


def fairgrad(rows, alpha=2.0, **options):
    built = stage(len(rows), "fairgrad", alpha=alpha, **options)
    return built(rows @ rows.T, context(len(rows))).shared


def test_orthogonal_gradients_by_hand():
    # G = diag(1, 9) / 5 after division by the mean diagonal entry; G w = w^(-1/2), so w = G^(-2/3)
    rows = torch.tensor([[1.0, 0], [0, 3]], dtype=torch.float64)
    assert fairgrad(rows).tolist() == pytest.approx([5 ** (2 / 3), (5 / 9) ** (2 / 3)])


def test_gradients_of_one_length_at_60_degrees_by_hand():
    # G = [[1, 1/2], [1/2, 1]]: w (1 + 1/2) = w^(-1/2) gives w = 1.5^(-2/3)
    rows = torch.tensor([[1.0, 0], [0.5, 0.75**0.5]], dtype=torch.float64)
    assert fairgrad(rows).tolist() == pytest.approx([1.5 ** (-2 / 3)] * 2)


def test_alpha_1_is_nash_mtl():
    rows = drawn(4) * torch.tensor([1e-4, 1.0, 3.0, 1e5], dtype=torch.float64)[:, None]
    assert torch.equal(fairgrad(rows, 1.0), nash(rows))


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_weights_solve_the_papers_equation(alpha, num_tasks):
    for seed in range(5):
        spread = 10 ** torch.linspace(-3, 3, num_tasks, dtype=torch.float64)[:, None]
        rows = drawn(num_tasks, seed=seed) * spread
        G = rows @ rows.T / (rows.norm() ** 2 / num_tasks)
        w = fairgrad(rows, alpha)
        assert w.min() > 0
        right = w ** (-1 / alpha)
        assert ((G @ w - right).abs() / (G.abs() @ w + right)).max() < 1e-8  # as near as rounding of its terms allows


def test_weights_are_those_of_a_general_solver():
    for seed in range(20):
        rows = drawn(3, seed=seed)
        G = (rows @ rows.T / (rows.norm() ** 2 / 3)).numpy()
        found = least_squares(lambda x, G=G: G @ x - x**-0.5, np.full(3, 1 / 3), bounds=(0, np.inf), xtol=1e-15)
        torch.testing.assert_close(fairgrad(rows), torch.from_numpy(found.x), rtol=1e-5, atol=1e-6)


def test_a_larger_alpha_gives_the_worst_task_more():
    rows = torch.tensor([[1.0, 0], [-0.5, 3]], dtype=torch.float64)
    least = []
    for alpha in (0.5, 1.0, 2.0, 8.0):
        update = fairgrad(rows, alpha) @ rows
        gains = rows @ update
        least.append(float(gains.min() / gains.max()))
    assert least == sorted(least)


def test_bad_alpha_is_named():
    assert "alpha must be" in complaints(AGGREGATORS.get("fairgrad"), alpha=0.0)[0].lower()
