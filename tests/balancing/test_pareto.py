import math

import pytest
import torch
from toy import context, setup, stage

from mtl_d2.balancing.gradient.pareto import spread
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import defaults


def drawn(num_tasks, dimension=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, dimension, generator=generator, dtype=torch.float64)


def pareto(rows, losses, built=None, present=None, update=50, **options):
    built = built or stage(len(rows), "pareto", **options)
    return built(rows @ rows.T, context(len(rows), present, losses, update)).shared


AXES = (1.0, 0.0, 0.0, 1.0)  # u_1 = (1, 0), u_2 = (0, 1)


def test_first_phase_by_hand():
    # follows u_1; L = (1, 2): constraint 2 is active, (u_2 - u_1).L = 1 > 0, its gradient is g_2 - g_1
    weights = pareto(torch.eye(2, dtype=torch.float64), [1.0, 2.0], update=0, preferences=AXES, index=0)
    assert weights.tolist() == [-1.0, 1.0]


def test_first_phase_ends_for_good_where_no_constraint_is_active():
    built = stage(2, "pareto", preferences=AXES, index=0)
    rows = torch.eye(2, dtype=torch.float64)
    assert not built.aggregator.feasible
    assert pareto(rows, [2.0, 1.0], built, update=0).tolist() == pytest.approx([1, 1])  # MGDA's, with sum 2
    assert built.aggregator.feasible
    assert pareto(rows, [1.0, 2.0], built, update=1).min() >= 0


def test_second_phase_by_hand():
    # hull of (1, 0), (0, 1) and the active g_2 - g_1 = (-1, 1): 3/5 (1, 0) + 2/5 (-1, 1) = (1/5, 2/5), times 2 / (3/5)
    weights = pareto(torch.eye(2, dtype=torch.float64), [1.0, 2.0], preferences=AXES, index=0)
    assert weights.tolist() == pytest.approx([2 / 3, 4 / 3])


@pytest.mark.parametrize("num_tasks", [2, 3, 5])
@pytest.mark.parametrize("phase", [0, 50])
def test_update_descends_on_what_its_phase_is_about(num_tasks, phase):
    for seed in range(8):
        rows = drawn(num_tasks, 8, seed)
        losses = (drawn(num_tasks, 1, seed)[:, 0].abs() + 0.1).tolist()
        built = stage(num_tasks, "pareto", index=0)
        update = pareto(rows, losses, built, update=phase) @ rows
        constraints = built.aggregator.preferences
        active = constraints[constraints @ torch.tensor(losses, dtype=torch.float64) > 0]
        assert (active @ rows @ update >= -1e-9).all()
        if phase or not len(active):
            assert (rows @ update >= -1e-9).all()


def test_training_ends_near_the_chosen_preference():
    # L_i = ||x - e_i||^2 / 2: the Pareto set is the segment between e_1 and e_2
    for index, smaller in ((1, 1), (3, 0)):
        built, x = stage(2, "pareto", index=index), torch.tensor([1.3, 1.1], dtype=torch.float64)
        for update in range(400):
            rows = x - torch.eye(2, dtype=torch.float64)
            losses = (rows**2).sum(1) / 2
            x = x - 0.01 * pareto(rows, losses.tolist(), built, update=update) @ rows
        angle = math.atan2(losses[1], losses[0]) / (math.pi / 2) * 4  # 0 ... 4 as the index
        assert losses[smaller] < losses[1 - smaller]
        assert abs(angle - index) <= 0.6


def test_without_active_constraint_it_is_mgda_with_sum_t():
    rows = drawn(3)
    built = stage(3, "pareto", preferences=(1.0, 1, 1))
    mgda = stage(3, "mgda")(rows @ rows.T, context(3)).shared
    torch.testing.assert_close(pareto(rows, [1.0, 2, 3], built), 3 * mgda)


def test_default_follows_the_balanced_preference():
    assert stage(2, "pareto").aggregator.preferences[2].tolist() == [0, 0]


def test_absent_task_is_left_out_of_the_preferences():
    rows = drawn(3)
    three = (0.0, 1, 0, 0, 0, 1)
    found = pareto(rows, [9.0, 1, 2], present=[False, True, True], preferences=three, index=0)
    expected = pareto(rows[1:], [1.0, 2], preferences=AXES, index=0)
    assert found.tolist() == [0, *expected.tolist()]
    assert not torch.allclose(expected, pareto(rows[1:], [1.0, 2], preferences=AXES, index=1))
    alone = pareto(rows, [9.0, 1, 2], present=[False, True, False], preferences=three, index=0)
    assert alone.tolist() == [0, 1, 0]


@pytest.mark.parametrize(("num_tasks", "count", "number"), [(1, 5, 1), (2, 5, 5), (3, 3, 3), (3, 5, 6), (4, 11, 20)])
def test_spread_covers_the_directions(num_tasks, count, number):
    u = spread(num_tasks, count)
    assert u.shape == (number, num_tasks)
    assert u.min() >= 0
    assert len({tuple(v) for v in u.tolist()}) == number
    torch.testing.assert_close(u.norm(dim=1), torch.ones(number, dtype=torch.float64))
    assert all((u == axis).all(1).any() or num_tasks == 2 for axis in torch.eye(num_tasks, dtype=torch.float64))


def test_phase_survives_a_checkpoint():
    built, resumed = stage(2, "pareto", preferences=AXES, index=0), stage(2, "pareto", preferences=AXES, index=0)
    rows = torch.eye(2, dtype=torch.float64)
    pareto(rows, [2.0, 1.0], built, update=0)
    resumed.load_state_dict(built.state_dict())
    assert torch.equal(pareto(rows, [1.0, 2.0], resumed, update=1), pareto(rows, [1.0, 2.0], built, update=1))
    fresh = stage(2, "pareto", preferences=AXES, index=0)
    assert not torch.equal(pareto(rows, [1.0, 2.0], fresh, update=1), pareto(rows, [1.0, 2.0], built, update=1))


def test_first_phase_is_two_percent_of_the_training_unless_said():
    method = AGGREGATORS.get("pareto")
    assert method(setup(2, 1001), **defaults(method.options)).init_updates == 21
    assert method(setup(2), **{**defaults(method.options), "init_updates": 7}).init_updates == 7
