import pytest
import torch
from test_nash_mtl import drawn
from torchjd.aggregation import GradVac
from toy import context, stage

from mtl_d2.balancing.registry import AGGREGATORS


def gradvac(num_tasks, **options):
    return stage(num_tasks, "gradvac", **options)


def weights(built, rows, present=None, update=0):
    return built(rows @ rows.T, context(len(rows), present, update=update)).shared


def test_a_gradient_is_turned_to_the_target_by_hand():
    built = gradvac(2)
    built.aggregator.target.fill_(0.5)
    rows = torch.tensor([[2.0, 0], [0, 3]], dtype=torch.float64)
    # p_1 = (2, 0) + 2 * 0.5 / (3 * sqrt(3/4)) * (0, 3) = (2, 2 / sqrt 3): cosine 1/2 to (0, 1)
    assert weights(built, rows).tolist() == pytest.approx([1 + 3 / 2 / 3**0.5, 1 + 2 / 3 / 3**0.5])


def test_targets_are_running_averages_of_the_cosines():
    built = gradvac(2, beta=0.5)
    rows = torch.tensor([[1.0, 0], [0.6, 0.8]], dtype=torch.float64)
    for expected in (0.3, 0.45):
        weights(built, rows)
        assert built.aggregator.target[0, 1] == pytest.approx(expected)
    assert built.aggregator.target.diagonal().tolist() == [0, 0]


def test_with_beta_0_it_is_pcgrad():
    for seed in range(5):
        rows = drawn(4, 5, seed)
        expected = stage(4, "pcgrad")(rows @ rows.T, context(4, update=seed)).shared
        torch.testing.assert_close(weights(gradvac(4, beta=0.0), rows, update=seed), expected)


def test_two_tasks_are_as_torchjd_has_them():
    ours, theirs = gradvac(2, beta=0.3), GradVac(beta=0.3, eps=0.0)
    for seed in range(30):
        rows = drawn(2, 6, seed)
        torch.testing.assert_close(weights(ours, rows) @ rows, theirs(rows), rtol=1e-9, atol=1e-9)


def test_an_absent_task_keeps_its_targets():
    built, rows = gradvac(3), drawn(3)
    weights(built, rows)
    before = built.aggregator.target.clone()
    weights(built, rows, [True, False, True])
    changed = (built.aggregator.target != before).nonzero().tolist()
    assert changed == [[0, 2], [2, 0]]


def test_targets_survive_a_checkpoint():
    one, other = gradvac(3), gradvac(3)
    weights(one, drawn(3))
    other.load_state_dict(one.state_dict())
    assert torch.equal(*(weights(built, drawn(3, seed=1)) for built in (one, other)))


def test_a_gradient_that_was_projected_away_moves_no_target():
    rows = torch.tensor([[1.0, 0.3, 0], [-2.0, -0.6, 0], [0, 0, 1]], dtype=torch.float64)
    for update in range(20):
        built = gradvac(3, beta=1.0)
        built.aggregator.target[0, 2] = 0.7
        weights(built, rows, update=update)
        assert built.aggregator.target[0, 2] in (0.0, 0.7)  # the cosine of what was left, or of nothing


def test_weights_stay_bounded_where_gradients_were_always_parallel():
    built = gradvac(2)
    for _ in range(100):
        weights(built, torch.tensor([[1.0, 0], [2, 0]], dtype=torch.float64))
    found = weights(built, torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64))
    assert 1 < found.max() < 30
    assert AGGREGATORS.get("gradvac").options["beta"].accepts(1.0)
