"""MTL.GRADIENT.SMOOTH: running averages of an aggregator's weights."""

import pytest
import torch
from test_nash_mtl import drawn
from torchjd.aggregation import CRMOGMWeighting, GramianWeightedAggregator, MGDAWeighting
from toy import context, stage

from mtl_d2.balancing.registry import AGGREGATORS


def diagonal(*squares):
    return torch.diag(torch.tensor(squares, dtype=torch.float64))


def test_running_average_by_hand():
    built = stage(2, "mgda", smooth=0.75)
    # shortest in the hull of orthogonal gradients: weights 1 / squares, so (4/5, 1/5), then (1/2, 1/2)
    assert built(diagonal(1.0, 4.0), context(2)).shared.tolist() == pytest.approx([0.8, 0.2])
    assert built(diagonal(1.0, 1.0), context(2)).shared.tolist() == pytest.approx([0.725, 0.275])


def test_it_is_cr_mogm_of_torchjd():
    ours = stage(3, "mgda", smooth=0.6)
    theirs = GramianWeightedAggregator(CRMOGMWeighting(MGDAWeighting(epsilon=1e-9, max_iters=20000), alpha=0.6))
    for seed in range(6):
        rows = drawn(3, seed=seed)
        found = ours(rows @ rows.T, context(3)).shared @ rows
        torch.testing.assert_close(found, theirs(rows), rtol=1e-2, atol=1e-2)  # their solver is iterative


def test_an_absent_task_keeps_its_last_weight_for_later():
    built = stage(2, "mgda", smooth=0.5)
    built(diagonal(1.0, 4.0), context(2))
    assert built(diagonal(1.0, 4.0), context(2, [True, False])).shared.tolist() == pytest.approx([0.9, 0.0])
    assert built(diagonal(1.0, 1.0), context(2)).shared.tolist() == pytest.approx([0.7, 0.35])


@pytest.mark.parametrize("name", AGGREGATORS.names())
def test_weights_survive_a_checkpoint(name):
    one, other = stage(3, name, smooth=0.9), stage(3, name, smooth=0.9)
    for seed in (1, 2):
        rows = drawn(3, seed=seed)
        one(rows @ rows.T, context(3, update=seed))
    other.load_state_dict(one.state_dict())
    rows = drawn(3, seed=3)
    assert torch.equal(*(built(rows @ rows.T, context(3, update=3)).shared for built in (one, other)))


def test_without_it_there_is_no_state():
    assert list(stage(2, "mgda").state_dict()) == []
