import math

import pytest
import torch
from scipy.optimize import minimize
from toy import context, stage


def drawn(num_tasks, dimension, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)


def cagrad(rows, **options):
    return stage(len(rows), "cagrad", **options)(rows @ rows.T, context(len(rows))).shared


def dual(w, rows, c):
    g_0, g_w = rows.mean(0), w @ rows
    return float(g_w @ g_0 + c * g_0.norm() * g_w.norm())


@pytest.mark.parametrize("rescale", [0, 1, 2])
def test_without_radius_it_is_the_mean(rescale):
    assert cagrad(drawn(3, 5), c=0.0, rescale=rescale).tolist() == [1 / 3] * 3


def test_two_tasks_by_hand():
    # g1 = (1, 0), g2 = (0, 1), c = 0.5: by symmetry w = (1/2, 1/2) and d = (1 + c) g_0
    rows = torch.eye(2, dtype=torch.float64)
    assert cagrad(rows, c=0.5, rescale=0).tolist() == pytest.approx([0.75, 0.75])
    assert cagrad(rows, c=0.5, rescale=1).tolist() == pytest.approx([0.6, 0.6])
    assert cagrad(rows, c=0.5, rescale=2).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("scale", "factor"), [("method", 1), ("mean", 1), ("sum", 2)])
@pytest.mark.parametrize("heads", ["method", "weights"])
def test_scale_multiplies_rows_and_heads_alike(scale, factor, heads):
    rows = torch.eye(2, dtype=torch.float64)
    built = stage(2, "cagrad", scale=scale, heads=heads, c=0.5, rescale=0)(rows, context(2))
    assert built.shared.tolist() == pytest.approx([0.75 * factor] * 2)
    assert built.heads.tolist() == pytest.approx([(1.0 if heads == "method" else 0.75) * factor] * 2)


def test_worst_task_alone_by_hand():
    # g1 = (1, 0), g2 = (9, 0): g_w . g_0 is smallest for w = (1, 0); d = g_0 + c ||g_0|| u_1 = (1 + c) g_0
    rows = torch.tensor([[1.0, 0], [9, 0]], dtype=torch.float64)
    assert cagrad(rows, c=0.5, rescale=0).tolist() == pytest.approx([0.5 + 0.5 * 5, 0.5])


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_no_weights_on_the_simplex_are_better(num_tasks, c):
    for seed in range(3):
        rows = drawn(num_tasks, 6, seed)
        radius = c * rows.mean(0).norm()
        step = cagrad(rows, c=c, rescale=0) - 1 / num_tasks
        w = step / step.sum()
        # d = g_0 + radius * g_w / ||g_w||
        torch.testing.assert_close(step @ rows, radius * (w @ rows) / (w @ rows).norm())
        oracle = minimize(
            lambda x, rows=rows: dual(torch.from_numpy(x), rows, c),
            [1 / num_tasks] * num_tasks,
            bounds=[(0, 1)] * num_tasks,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert dual(w, rows, c) <= oracle.fun + 1e-9
        assert dual(w, rows, c) == pytest.approx(oracle.fun, abs=1e-5)


def test_worst_improvement_equals_the_dual_and_no_direction_in_the_ball_has_a_better_one():
    rows, c = drawn(3, 3, 5), 0.6
    step = cagrad(rows, c=c, rescale=0)
    w = (step - 1 / 3) / (step - 1 / 3).sum()
    worst = (rows @ (step @ rows)).min()
    assert worst.item() == pytest.approx(dual(w, rows, c), rel=1e-8)
    g_0 = rows.mean(0)
    around = torch.nn.functional.normalize(drawn(5000, 3, 6), dim=1) * c * g_0.norm() + g_0
    assert (around @ rows.T).min(1).values.max() <= worst + 1e-9


@pytest.mark.parametrize("factor", [1e-9, 1e-3])
def test_short_gradient_is_helped_as_well(factor):
    rows = torch.tensor([[1.0, 0], [-0.5 * factor, factor]], dtype=torch.float64)
    d = cagrad(rows, c=0.9) @ rows
    assert rows[1] @ d > 0
    assert (rows[1] @ rows.mean(0)) < 0


def test_opposite_gradients_leave_a_step_within_the_ball():
    rows = torch.tensor([[1.0, 2], [-3, -6], [1e-3, -1e-3]], dtype=torch.float64)
    d = cagrad(rows, c=0.4, rescale=0) @ rows
    g_0 = rows.mean(0)
    assert (d - g_0).norm() <= 0.4 * g_0.norm() * (1 + 1e-6)
    assert math.isfinite(d.norm())
