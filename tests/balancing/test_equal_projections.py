"""IMTL-G and ConFIG: both point where all unit gradients have the same projection."""

import pytest
import torch
from torchjd.aggregation import ConFIG, IMTLGWeighting
from toy import context, stage


def drawn(num_tasks, dimension=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)


def weights(name, rows):
    return stage(len(rows), name)(rows @ rows.T, context(len(rows))).shared


def test_imtl_g_by_hand():
    # orthogonal, lengths 1 and 3: equal projections w1 = 3 w2, sum 1
    rows = torch.tensor([[1.0, 0], [0, 3]], dtype=torch.float64)
    assert weights("imtl_g", rows).tolist() == pytest.approx([0.75, 0.25])


def test_config_by_hand():
    # orthogonal, lengths 1 and 3: x = (1, 1), sum_i g_i.x = 4, ||x||^2 = 2: update (2, 2)
    rows = torch.tensor([[1.0, 0], [0, 3]], dtype=torch.float64)
    assert (weights("config", rows) @ rows).tolist() == pytest.approx([2, 2])


@pytest.mark.parametrize("name", ["imtl_g", "config"])
@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_projections_are_equal_whatever_the_lengths(name, num_tasks):
    rows = drawn(num_tasks) * 10 ** torch.linspace(-6, 6, num_tasks, dtype=torch.float64)[:, None]
    projections = torch.nn.functional.normalize(rows, dim=1) @ (weights(name, rows) @ rows)
    torch.testing.assert_close(projections, projections[:1].expand(num_tasks), rtol=1e-6, atol=0)


def test_imtl_g_equals_the_papers_inverse():
    # eq. 7: (w_2, ..., w_T) = g_1 U' (D U')^-1 with U = u_1 - u_t, D = g_1 - g_t
    g = drawn(4)
    u = torch.nn.functional.normalize(g, dim=1)
    U, D = u[:1] - u[1:], g[:1] - g[1:]
    rest = g[0] @ U.T @ torch.linalg.inv(D @ U.T)
    torch.testing.assert_close(weights("imtl_g", g), torch.cat([1 - rest.sum()[None], rest]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_both_equal_torchjd(num_tasks):
    rows = drawn(num_tasks, seed=num_tasks)
    torch.testing.assert_close(weights("imtl_g", rows), IMTLGWeighting()(rows @ rows.T), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights("config", rows) @ rows, ConFIG()(rows), rtol=1e-9, atol=1e-9)


def test_config_is_as_long_as_the_projections_together():
    rows = drawn(3)
    update = weights("config", rows) @ rows
    assert update.norm().item() == pytest.approx((rows @ update).sum().item() / update.norm().item())


@pytest.mark.parametrize("name", ["imtl_g", "config"])
def test_opposite_gradients_give_no_update(name):
    rows = torch.tensor([[1.0, 2], [-2, -4]], dtype=torch.float64)
    assert weights(name, rows).tolist() == [0, 0]


def test_imtl_g_of_parallel_gradients_is_the_limit_of_nearly_parallel_ones():
    exact = torch.tensor([[1.0, 0], [3, 0]], dtype=torch.float64)
    nearly = torch.tensor([[1.0, 1e-5], [3, 0]], dtype=torch.float64)
    assert weights("imtl_g", exact).tolist() == pytest.approx([0.75, 0.25])
    assert weights("imtl_g", nearly).tolist() == pytest.approx([0.75, 0.25], rel=1e-4)
