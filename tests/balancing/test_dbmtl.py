"""DB-MTL: the aggregator ``dbmtl`` with the mean "log"."""

import pytest
import torch
from toy import balancer, batch, scalarization, stage, toy

from mtl_d2.balancing import Oracle


def test_update_is_the_papers():
    scalar = scalarization(2, mean="log")
    made = balancer(2, stage(2, "dbmtl"), scalar)
    oracle = Oracle(toy())
    oracle.load(batch(*[("detection", "semantic")] * 4))
    result = made(oracle, 0, lambda: None)
    n, L = result.gramian.diagonal().sqrt(), result.losses
    torch.testing.assert_close(result.weights.shared * result.coefficients, (n / L).max() / n)
    torch.testing.assert_close(result.weights.heads * result.coefficients, 1 / L)


def test_rows_get_the_length_of_the_longest_by_hand():
    G = torch.diag(torch.tensor([4.0, 16.0], dtype=torch.float64))
    from toy import context

    assert stage(2, "dbmtl")(G, context(2)).shared.tolist() == pytest.approx([2, 1])
    assert stage(2, "dbmtl")(G, context(2, [True, False])).shared.tolist() == [1, 0]
