import pytest
import torch
from scipy.optimize import nnls
from test_nash_mtl import drawn
from toy import context, stage


def update(rows):
    return stage(len(rows), "dualproj")(rows @ rows.T, context(len(rows))).shared @ rows


def test_a_mean_that_harms_a_task_by_hand():
    # mean (1, 0.5) of (3, 0) and (-1, 1): g_2 . mean = -1/2, so it moves by 1/4 g_2 to (3/4, 3/4)
    rows = torch.tensor([[3.0, 0], [-1, 1]], dtype=torch.float64)
    assert update(rows).tolist() == pytest.approx([0.75, 0.75])


def test_without_conflict_it_is_the_mean():
    rows = torch.tensor([[1.0, 0], [1, 2]], dtype=torch.float64)
    assert update(rows).tolist() == [1, 1]


@pytest.mark.parametrize("num_tasks", [2, 3, 8])
def test_it_is_what_a_general_solver_finds_and_harms_no_task(num_tasks):
    for seed in range(10):
        rows = drawn(num_tasks, 6, seed)
        found = update(rows)
        assert (rows @ found).min() > -1e-9
        l, _ = nnls(rows.T.numpy(), -rows.mean(0).numpy())  # noqa: E741  # the paper's letter
        torch.testing.assert_close(found, rows.mean(0) + torch.from_numpy(l) @ rows, rtol=1e-9, atol=1e-9)


def test_no_other_harmless_direction_is_closer_to_the_mean():
    rows = drawn(3, 3, 4)
    found, mean = update(rows), rows.mean(0)
    others = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    harmless = others[(others @ rows.T >= 0).all(1)]
    assert len(harmless) > 100
    assert (harmless - mean).norm(dim=1).min() >= (found - mean).norm() - 1e-12
