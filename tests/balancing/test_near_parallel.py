"""Task gradients that differ by little: what they differ in keeps the digits that the gradients themselves have.

Expected values are worked out with 60 digits, from the rows as they are in float64.
"""

import mpmath
import pytest
import torch
from mpmath import mp
from torch import nn
from toy import balancer, stage

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.coordinates import combined_gramian, coordinates
from mtl_d2.tasks.task import Task

DIGITS = 60


class Given(nn.Module):
    """A model whose tasks' gradients are the rows (T, P) that it is given, in two shared parameters."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        self.tasks = tuple(Task(f"t{i}", (f"loss_{i}",), (f"heads.{i}",)) for i in range(len(rows)))
        self.first, self.rest = (nn.Parameter(torch.zeros_like(part)) for part in (rows[0, :3], rows[0, 3:]))
        self.heads = nn.ModuleList(nn.Linear(1, 1).to(rows.dtype) for _ in rows)

    def sample_tasks(self, sample):
        return tuple(task.name for task in self.tasks)

    def batch_images(self, samples):
        return self.rows.new_zeros(1, 1)

    def shared_features(self, images):
        return {"all": torch.cat([self.first, self.rest])[None]}

    def task_losses(self, task, features, samples, reduction):
        i = int(task[1:])
        return {f"loss_{i}": features["all"][0] @ self.rows[i] + 1 + 0 * self.heads[i].bias.sum()}

    def mixes_samples(self):
        return False

    def synchronizes(self, task=None):
        return False

    def last_shared_parameters(self):
        return [self.rest]


def update(name, rows, level="all", **options):
    model = Given(rows)
    oracle = Oracle(model)
    oracle.load([{}])
    made = balancer(len(rows), stage(len(rows), name, **options))
    made.level = level
    made(oracle, 0, lambda: None)
    return torch.cat([model.first.grad, model.rest.grad])


def drawn(eps, sign=1, num_tasks=3, dimension=8, seed=0):
    """Random rows, the second of which is ``sign`` times the first one but for ``eps``."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)
    rows[1] = sign * rows[0] + eps * torch.randn(dimension, generator=generator, dtype=torch.float64)
    return rows


def equal_projections(J):
    """z and x of the unit rows U: U U' z = 1, x = U' z."""
    U = mp.matrix([[entry / mp.norm(J[i, :]) for entry in J[i, :]] for i in range(J.rows)])
    z = mp.lu_solve(U * U.T, mp.ones(J.rows, 1))
    return z, U.T * z


def config(J):
    _, x = equal_projections(J)
    return sum(J * x) / mp.norm(x) ** 2 * x


def imtl_g(J):
    z, _ = equal_projections(J)
    v = mp.matrix([z[i] / mp.norm(J[i, :]) for i in range(J.rows)])
    return J.T * v / sum(v)


def aligned_mtl(J):
    values, V = mp.eigsy(J * J.T)
    return J.T * V * mp.diag([mp.sqrt(min(values) / value) for value in values]) * V.T * mp.ones(J.rows, 1) / J.rows


def upgrad(J):
    """For two tasks in conflict."""
    g, h = J[0, :].T, J[1, :].T
    inner = (g.T * h)[0]
    return (g - inner / mp.norm(h) ** 2 * h + h - inner / mp.norm(g) ** 2 * g) / 2


def relative_error(found, expected):
    found = mp.matrix(found.tolist())
    return float(mp.norm(found - expected) / mp.norm(expected))


@pytest.fixture(autouse=True)
def precision():
    with mpmath.workdps(DIGITS):
        yield


@pytest.mark.parametrize("eps", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize(
    ("method", "sign", "num_tasks"),
    [
        *((method, sign, 3) for method in (config, imtl_g, aligned_mtl) for sign in (1, -1)),
        *((config, 1, 6), (aligned_mtl, 1, 6), (upgrad, -1, 2)),
    ],
)
def test_update_has_the_digits_that_the_rows_have(method, sign, num_tasks, eps):
    # rows are known to 1e-16, so their difference to 1e-16 / eps; from the Gramian it would be known to 1e-16 / eps^2
    for seed in range(3):
        rows = drawn(eps, sign, num_tasks, seed=seed)
        found = update(method.__name__, rows)
        assert relative_error(found, method(mp.matrix(rows.tolist()))) < 2e-14 / eps


def test_differences_on_two_scales_and_a_row_that_is_much_longer():
    rows = drawn(1e-4)
    rows[2] = rows[0] + drawn(1, seed=1)[2] * 1e-8
    rows[1] *= 1e6
    assert relative_error(update("config", rows), config(mp.matrix(rows.tolist()))) < 1e-6


def test_weights_of_the_last_layer_have_its_digits():
    rows = drawn(1e-6)
    rows[:, 3:] = drawn(1e-6, dimension=5, seed=4)
    z, _ = equal_projections(mp.matrix(rows[:, 3:].tolist()))
    v = mp.matrix([z[i] / mp.norm(mp.matrix(rows[i, 3:].tolist())) for i in range(3)])
    expected = mp.matrix(rows.tolist()).T * v / sum(v)
    assert relative_error(update("imtl_g", rows, "last_layer"), expected) < 2e-8


@pytest.mark.parametrize("name", ["config", "imtl_g", "aligned_mtl", "mgda", "upgrad", "cagrad", "pareto"])
def test_rows_that_are_the_same_count_as_the_same(name):
    rows = drawn(0.0)
    near = rows.clone()
    near[1] = near[1] * (1 + 2e-16)
    torch.testing.assert_close(update(name, near), update(name, rows), rtol=1e-10, atol=1e-12)
    assert update(name, rows).norm() < 3 * rows.norm()


def test_coordinates_have_the_gramian_of_the_rows():
    for eps in (1.0, 1e-5):
        rows = drawn(eps)
        rows[2] *= 1e5
        found = coordinates(rows @ rows.T, lambda factors, J=rows: (factors @ J) @ (factors @ J).T)
        torch.testing.assert_close(found @ found.T, rows @ rows.T, rtol=1e-12, atol=1e-12)
        difference = (rows[1] - rows[0]).norm()
        assert (found[1] - found[0]).norm().item() == pytest.approx(difference.item(), rel=1e-9)


def test_rows_that_differ_are_not_looked_at_again():
    def look(factors):
        raise AssertionError("the Gramian says enough")

    rows = drawn(0.1)
    assert coordinates(rows @ rows.T, look).shape == (3, 3)


def test_rows_of_zeros_and_equal_rows_span_nothing_more():
    rows = drawn(0.0, num_tasks=4)
    rows[3] = 0
    found = coordinates(rows @ rows.T, lambda factors: (factors @ rows) @ (factors @ rows).T)
    assert torch.linalg.matrix_rank(found) == 2
    assert (found[3] == 0).all()
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-14)


def test_combinations_of_rows_with_missing_parameters_by_hand():
    # rows (1, 2 | 0) and (0, 0 | 3): their sum and their difference have 14 = 1 + 4 + 9 and the product 1 + 4 - 9
    rows = [[torch.tensor([1.0, 2]), None, None], [None, torch.tensor([3.0]), None]]
    factors = torch.tensor([[1.0, 1], [1, -1]], dtype=torch.float64)
    assert combined_gramian(rows, factors).tolist() == [[14, -4], [-4, 14]]
    long = [[torch.ones(200_000)], [2 * torch.ones(200_000)]]
    assert combined_gramian(long, factors).tolist() == [[18e5, -6e5], [-6e5, 2e5]]
