import pytest
import torch
from toy import context, setup, stage

from mtl_d2.balancing.registry import ROW_SCALINGS


def alpha(length, *norms, present=None):
    gramian = torch.diag(torch.tensor(norms, dtype=torch.float64) ** 2)
    return ROW_SCALINGS.get("unit")(setup(len(norms)), length)(gramian, context(len(norms), present)).tolist()


@pytest.mark.parametrize(("length", "expected"), [("max", [2, 1]), ("mean", [1.5, 0.75]), ("one", [0.5, 0.25])])
def test_all_gradients_get_one_length(length, expected):
    assert alpha(length, 2.0, 4.0) == pytest.approx(expected)


def test_absent_tasks_and_zero_gradients_are_left_out():
    assert alpha("max", 2.0, 4.0, 8.0, present=[True, True, False])[:2] == pytest.approx([2, 1])
    assert alpha("mean", 0.0, 4.0) == pytest.approx([1, 1])
    assert alpha("one", 1e-12, 1e12) == pytest.approx([1e12, 1e-12])


def test_in_front_of_the_sum_it_is_dbmtls_direction():
    rows = torch.tensor([[1.0, 2], [30, 0], [0, -0.1]], dtype=torch.float64)
    unit = ROW_SCALINGS.get("unit")(setup(3), "max")
    found = stage(3, "sum", unit)(rows @ rows.T, context(3))
    torch.testing.assert_close(found.shared, stage(3, "dbmtl")(rows @ rows.T, context(3)).shared)
    torch.testing.assert_close(found.heads, found.shared)
