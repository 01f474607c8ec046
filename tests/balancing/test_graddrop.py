import pytest
import torch
from torchjd.aggregation import GradDrop
from toy import context, stage


def rows(*values):
    return [[torch.tensor(v, dtype=torch.float64)] for v in values]


def combined(given, weights=None, update=3, **options):
    built = stage(len(given), "graddrop", **options)
    return built.combine(given, weights or [1.0] * len(given), context(len(given), update=update))[0]


def test_draws_by_hand():
    # P = (1 + 2/4) / 2 = 0.75, 1, 0 for the elements (3, -1), (2, 2), (-1, -4)
    U = torch.rand(3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    first = 3.0 if U[0] < 0.75 else -1.0
    assert combined(rows([3, 2, -1], [-1, 2, -4])).tolist() == [first, 4.0, -5.0]


@pytest.mark.parametrize("leak", [(), (0.0, 0.25, 1.0)])
def test_equals_torchjd_with_the_same_draws(leak):
    jacobian = torch.randn(3, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = combined([[row] for row in jacobian], update=5, leak=leak)
    torch.manual_seed(5)
    expected = GradDrop(leak=torch.tensor(leak, dtype=torch.float64) if leak else None)(jacobian)
    torch.testing.assert_close(found, expected)


def test_expectation_keeps_the_sign_of_the_sum():
    # E = P * positive part + (1 - P) * negative part
    given = [torch.full((20000,), 3.0), torch.full((20000,), -1.0)]
    found = combined([[g] for g in given])
    assert found.mean().item() == pytest.approx(0.75 * 3 - 0.25, abs=0.05)


def test_without_conflict_or_with_full_leak_it_is_the_sum():
    assert combined(rows([1, -2, 0], [3, -1, 0])).tolist() == [4, -3, 0]
    assert combined(rows([1, -2], [-3, 1]), leak=(1.0, 1.0)).tolist() == [-2, -1]


def test_weights_come_before_the_draw_and_absent_rows_are_left_out():
    assert combined([[torch.tensor([1.0])], [None], [torch.tensor([2.0])]], [2.0, 0.0, 0.5]).tolist() == [3.0]
    assert combined([[None], [None]]) is None


def test_rows_are_freed_and_not_written_to():
    one = torch.tensor([1.0, -1.0])
    given = [[one], [-one]]
    combined(given)
    assert given == [[None], [None]]
    assert one.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_of_the_gradients_carries_over(scale):
    jacobian = torch.randn(10, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(
        combined([[row * scale] for row in jacobian]), combined([[row] for row in jacobian]) * scale
    )


def test_draws_are_those_of_the_update_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    draw = lambda update: combined([[torch.ones(99)], [-torch.ones(99)]], update=update)  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)
