import pytest
import torch
from toy import complaints, context, mclgs, scalarization, stage, weighting

G = torch.tensor([[1.0, 0.5], [0.5, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("aggregator", "scale", "weight"),
    [
        ("sum", "method", 1.0),
        ("sum", "sum", 1.0),
        ("sum", "mean", 0.5),
        ("mean", "method", 0.5),
        ("mean", "mean", 0.5),
        ("mean", "sum", 1.0),
    ],
)
def test_scale_turns_sums_into_means_and_back(aggregator, scale, weight):
    built = stage(2, aggregator, scale=scale)
    assert not built.needs_rows(0)
    assert built(G, context(2)).shared.tolist() == [weight, weight]


def test_scale_applies_behind_a_row_scaling():
    half = stage(2, "mean", mclgs(2, a0=1.0))(G, context(2)).heads
    full = stage(2, "mean", mclgs(2, a0=1.0), scale="sum")(G, context(2)).heads
    torch.testing.assert_close(full, 2 * half)


def test_row_scaling_needs_the_gradients():
    assert stage(2, "mean", mclgs(2)).needs_rows(0)


def test_mean_divides_by_all_tasks_when_one_is_absent():
    assert stage(2, "mean")(G, context(2, [True, False])).shared.tolist() == [0.5, 0.0]


def test_fixed_weights_are_the_coefficients():
    losses = torch.tensor([3.0, 5.0], dtype=torch.float64, requires_grad=True)
    total = scalarization(2, weights=(1.7, 0.3))(losses, context(2))
    assert total.item() == pytest.approx(6.6)
    assert torch.autograd.grad(total, losses)[0].tolist() == [1.7, 0.3]


def test_absent_task_is_left_out_of_the_sum():
    losses = torch.tensor([3.0, float("inf")], dtype=torch.float64)
    assert scalarization(2)(losses, context(2, [True, False])).item() == 3.0


def test_wrong_number_of_weights_is_named():
    method = type(weighting(2))
    assert "one number for each of the 2 tasks" in complaints(method, weights=(1.0,))[0]
    assert "each entry is a finite number >= 0, got (1.0, -1.0)" in complaints(method, weights=(1.0, -1.0))[0]
