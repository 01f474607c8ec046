import copy
import math

import pytest
import torch
from observed import observed
from torchjd.scalarization import DWA
from toy import complaints, context, scalarization, weighting

from mtl_d2.balancing.registry import WEIGHTINGS


def show(method, *rows, present=None):
    for row in rows:
        method.observe(observed(row, present))
    return method(context(len(rows[0]))).tolist()


def test_two_tasks_by_hand():
    # means (2, 4) then (1, 4): r = (0.5, 1), w = 2 softmax(0.25, 0.5)
    method = weighting(2, "dwa", period=2)
    assert show(method, [1.0, 3.0], [3.0, 5.0], [1.0, 4.0]) == [1.0, 1.0]
    low, high = math.exp(0.25), math.exp(0.5)
    expected = [2 * low / (low + high), 2 * high / (low + high)]
    assert show(method, [1.0, 4.0]) == pytest.approx(expected, rel=1e-14)


def test_it_is_torchjds_with_a_step_after_each_window():
    ours, theirs = weighting(3, "dwa", period=4, temperature=0.7), DWA(0.7)
    torch.manual_seed(0)
    for t in range(17):
        losses = torch.rand(3, dtype=torch.float64) * 10
        torch.testing.assert_close((ours(context(3)) * losses).sum(), theirs(losses), rtol=1e-13, atol=0)
        ours.observe(observed(losses.tolist()))
        if t % 4 == 3:
            theirs.step()
    assert ours(context(3)).std() > 0.01


def test_mean_is_over_the_updates_that_had_the_task():
    method = weighting(2, "dwa", period=2)
    show(method, [6.0, 1.0], [2.0, 1.0])  # means 4 and 1
    show(method, [2.0, 1.0])
    show(method, [0.0, 1.0], present=[False, True])  # mean 2 of one update, not 1 of two
    assert method.rates().tolist() == [0.5, 1.0]


def test_task_that_a_window_lacks_keeps_its_rate():
    method = weighting(2, "dwa", period=1)
    show(method, [4.0, 1.0], [1.0, 1.0])
    show(method, [0.0, 3.0], present=[False, True])
    assert method.rates().tolist() == [0.25, 3.0]


def test_task_alone_learns_even_after_another_exploded():
    scalar = scalarization(2, "dwa", "geometric", period=1)
    show(scalar.weighting, [1.0, 1e-12], [1.0, 1e12])
    S = scalar(torch.tensor([3.0, 0.0], dtype=torch.float64), context(2, [True, False], [3.0, 0.0]))
    assert S.item() == pytest.approx(3.0)


@pytest.mark.parametrize("seen", [0, 1, 3, 4, 5])
def test_state_survives_in_the_middle_of_a_window(seen):
    torch.manual_seed(seen)
    rows = (torch.rand(9, 2) + 0.1).tolist()
    one, two = weighting(2, "dwa", period=2), weighting(2, "dwa", period=2)
    for row in rows[:seen]:
        one.observe(observed(row))
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for row in rows[seen:]:
        assert show(one, row) == show(two, row)


@pytest.mark.parametrize("options", [{"period": 0}, {"period": 1.5}, {"temperature": 0.0}, {"temperature": math.inf}])
def test_wrong_options_are_named(options):
    method = WEIGHTINGS.get("dwa")
    (line,) = complaints(method, **options)
    assert line.startswith(next(iter(options)).upper())
