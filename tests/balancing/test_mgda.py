import numpy as np
import pytest
import torch
from torchjd.aggregation import MGDAWeighting
from toy import context, stage

from mtl_d2.balancing.quadratic import min_norm_point, nonnegative_least_squares


def gram(*rows):
    rows = torch.tensor(rows, dtype=torch.float64)
    return rows @ rows.T


def drawn(num_tasks, dimension, seed=0, spread=0.0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)
    return rows * 10 ** (spread * torch.linspace(-1, 1, num_tasks, dtype=torch.float64))[:, None]


def mgda(G, losses=None, **options):
    return stage(len(G), "mgda", **options)(G, context(len(G), losses=losses)).shared


def test_two_tasks_by_hand():
    # w1 = (g2 - g1).g2 / ||g1 - g2||^2 = (4 + 1 - (-2 + 0)) / (3^2 + 1)
    assert mgda(gram([-1, 0], [2, 1])).tolist() == pytest.approx([0.7, 0.3])


def test_short_gradient_that_points_along_gets_all_the_weight():
    assert mgda(gram([1, 0], [3, 1])).tolist() == [1.0, 0.0]


def test_orthogonal_gradients_are_weighted_by_their_inverse_squared_length():
    weights = mgda(torch.diag(torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64)))
    assert weights.tolist() == pytest.approx([16 / 21, 4 / 21, 1 / 21])


@pytest.mark.parametrize("spread", [0.0, 6.0])
@pytest.mark.parametrize("num_tasks", [2, 3, 5, 10])
def test_it_is_the_shortest_point_of_the_hull(num_tasks, spread):
    # d is it if and only if g_i.d >= ||d||^2 for all i, with equality where w_i > 0
    for seed in range(5):
        rows = drawn(num_tasks, 7, seed, spread)
        weights = min_norm_point(rows)
        d = weights @ rows
        slack = (rows @ d - d @ d) / (rows.norm(dim=1) * rows.norm(dim=1).min())
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1)
        assert slack.min() > -1e-9
        assert slack[weights > 1e-12 * (rows.norm(dim=1).min() / rows.norm(dim=1))].abs().max() < 1e-9


def test_hull_around_zero_has_length_zero():
    rows = torch.cat([drawn(4, 2), -drawn(4, 2).sum(0, keepdim=True)])
    assert (mgda(rows @ rows.T) @ rows).norm() < 1e-12


def test_equals_torchjd_for_two_and_is_never_longer():
    for seed in range(10):
        two, five = drawn(2, 4, seed), drawn(5, 7, seed)
        torch.testing.assert_close(mgda(two @ two.T), MGDAWeighting()(two @ two.T), rtol=1e-9, atol=1e-9)
        assert (mgda(five @ five.T) @ five).norm() <= (MGDAWeighting()(five @ five.T) @ five).norm() + 1e-12


@pytest.mark.parametrize(("normalization", "n"), [("l2", [1, 4]), ("loss", [3, 2]), ("loss+", [3, 8])])
def test_normalizations(normalization, n):
    # orthogonal rows of length 1 / n_1 and 4 / n_2
    lengths = torch.tensor([1.0, 4.0], dtype=torch.float64) / torch.tensor(n)
    expected = lengths**-2 / (lengths**-2).sum()
    weights = mgda(gram([1, 0], [0, 4]), [3.0, 2.0], normalization=normalization)
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_loss_of_zero_cannot_normalize():
    with pytest.raises(ValueError, match="needs losses > 0"):
        mgda(gram([1, 0], [0, 4]), [3.0, 0.0], normalization="loss")


def test_nonnegative_least_squares_by_hand():
    # unconstrained minimum (-1, 3); with z_1 = 0, z_2 = 3, or a_2'b = 0.6 * -1 + 0.8 * 3 where a_2 leans on a_1
    assert nonnegative_least_squares(np.eye(2), np.array([-1.0, 3.0])).tolist() == [0, 3]
    leaning = np.array([[1.0, 0.6], [0.0, 0.8]])
    assert nonnegative_least_squares(leaning, np.array([-1.0, 3.0])).tolist() == pytest.approx([0, 1.8])


def test_nonnegative_least_squares_meets_its_conditions_where_columns_depend():
    generator = np.random.default_rng(0)
    for _ in range(50):
        A, b = generator.normal(size=(3, 8)), generator.normal(size=3)
        A /= np.linalg.norm(A, axis=0)
        z = nonnegative_least_squares(A, b)
        slope = A.T @ (A @ z - b)
        assert z.min() >= 0
        assert slope.min() > -1e-10
        assert abs(slope @ z) < 1e-10
