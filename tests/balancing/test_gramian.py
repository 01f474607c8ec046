import pytest
import torch

from mtl_d2.balancing.gramian import CHUNK, gramian, inner_product


def test_by_hand_with_a_missing_gradient():
    a = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    b = [torch.tensor([4.0, -1.0]), None]
    assert gramian([a, b]).tolist() == [[14.0, 2.0], [2.0, 17.0]]


@pytest.mark.parametrize("size", [3, CHUNK, CHUNK + 1, 5 * CHUNK + 17])
def test_float32_is_as_exact_as_its_inputs(size):
    torch.manual_seed(0)
    x, y = torch.randn(size), torch.randn(size)
    exact = x.double() @ y.double()
    bound = 1e-7 * (x.double().norm() * y.double().norm())
    assert abs(inner_product(x, y) - exact) < bound


def test_float64_is_exact():
    x, y = torch.randn(3 * CHUNK, dtype=torch.float64), torch.randn(3 * CHUNK, dtype=torch.float64)
    assert inner_product(x, y) == x @ y


def test_other_memory_layouts_pair_the_same_elements():
    x = torch.randn(8, 16, 3, 3)
    assert inner_product(x.to(memory_format=torch.channels_last), x) == pytest.approx((x.double() ** 2).sum().item())
