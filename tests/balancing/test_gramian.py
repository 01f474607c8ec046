import pytest
import torch

from mtl_d2.balancing.exact.rows import CHUNK, gramian


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
    assert abs(gramian([[x], [y]])[0, 1] - exact) < bound


def test_parameters_of_all_sizes_add_up_where_some_are_missing():
    sizes = (1, CHUNK - 1, CHUNK, 3 * CHUNK + 5, 7)
    rows = [[torch.randn(n, dtype=torch.float64) for n in sizes] for _ in range(3)]
    rows[1][3] = rows[2][0] = rows[0][4] = None
    dense = [[torch.zeros(n) if r is None else r for r, n in zip(row, sizes, strict=True)] for row in rows]
    whole = torch.stack([torch.cat(row) for row in dense])
    torch.testing.assert_close(gramian(rows), whole @ whole.T, rtol=1e-14, atol=1e-10)


def test_equal_rows_have_equal_products():
    row = [torch.randn(n) for n in (5, 3 * CHUNK + 17)]
    assert gramian([row, [t.clone() for t in row]]).unique().numel() == 1


def test_other_memory_layouts_pair_the_same_elements():
    x = torch.randn(8, 16, 3, 3)
    assert gramian([[x.to(memory_format=torch.channels_last)], [x]])[0, 1] == pytest.approx(
        (x.double() ** 2).sum().item()
    )
