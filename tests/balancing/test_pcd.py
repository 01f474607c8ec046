import pytest
import torch
from test_nash_mtl import drawn
from torchjd.aggregation import PCD
from toy import complaints, context, stage

from mtl_d2.balancing.registry import AGGREGATORS


def pcd(num_tasks, **options):
    return stage(num_tasks, "pcd", **options)


def direction(built, rows, present=None):
    return built(rows @ rows.T, context(len(rows), present)).shared @ rows


def test_two_unit_gradients_by_hand():
    # n_2 . d >= tau: d = (1, 0) + tau (0, 1), made as long as g_1
    rows = torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64)
    found = direction(pcd(2, tau=0.5), rows)
    assert found.tolist() == pytest.approx([1 / 1.25**0.5, 0.5 / 1.25**0.5])


def test_the_primary_gradient_is_followed_alone_where_that_helps_the_others():
    rows = torch.tensor([[3.0, 4], [1, 1], [0, 2]], dtype=torch.float64)
    torch.testing.assert_close(direction(pcd(3), rows), rows[0])


def test_every_other_task_gets_its_share():
    for seed in range(20):
        rows = drawn(4, 8, seed) * torch.tensor([1e-3, 1.0, 50.0, 1e4], dtype=torch.float64)[:, None]
        built = pcd(4, primary="semantic", tau=0.1)
        found = direction(built, rows)
        assert found.norm() == pytest.approx(rows[1].norm())
        units = rows / rows.norm(dim=1, keepdim=True)
        others = [0, 2, 3]
        d = found / found.norm()
        progress = units @ d  # of d up to its length before it was changed, which is at least 1
        assert (progress[others] > 0).all()
        assert progress[1] > 0 or progress[others].min() > 0


def test_updates_in_a_row_are_as_torchjd_has_them():
    for num_tasks in (2, 3, 5):
        ours, theirs = pcd(num_tasks, tau=0.2, beta=0.9), PCD(tau=0.2, beta=0.9, eps=0.0)
        for seed in range(15):
            rows = drawn(num_tasks, 7, seed) * 10.0 ** (seed % 5)
            torch.testing.assert_close(direction(ours, rows), theirs(rows), rtol=1e-6, atol=1e-8)


def test_a_secondary_losss_scale_does_not_matter():
    rows = drawn(3)
    scaled = rows * torch.tensor([1.0, 1e6, 1e-5], dtype=torch.float64)[:, None]
    torch.testing.assert_close(direction(pcd(3), rows), direction(pcd(3), scaled), rtol=1e-9, atol=1e-12)


def test_others_that_no_direction_helps_are_left_out():
    rows = torch.tensor([[1.0, 1], [1, 0], [-1, 0]], dtype=torch.float64)
    torch.testing.assert_close(direction(pcd(3, tau=0.1), rows), rows[0])


def test_without_the_primary_task_the_mean_is_followed():
    rows = drawn(3)
    torch.testing.assert_close(direction(pcd(3), rows, [False, True, True]), rows[1:].mean(0))


def test_state_survives_a_checkpoint():
    one, other = pcd(2, tau=0.5), pcd(2, tau=0.5)
    direction(one, drawn(2) * 100)
    other.load_state_dict(one.state_dict())
    rows = drawn(2, seed=3)
    assert torch.equal(direction(one, rows), direction(other, rows))
    assert not torch.equal(direction(pcd(2, tau=0.5), rows), direction(other, rows))


def test_a_primary_task_that_is_none_is_named():
    said = complaints(AGGREGATORS.get("pcd"), primary="pose")
    assert said == ["PRIMARY must be one of MTL.TASKS ('detection', 'semantic'), or empty, got 'pose'"]
