import math

import pytest
import torch
from observed import observed
from toy import context, scalarization, weighting


def test_weights_by_hand():
    built = weighting(2, "igb", period=2)
    for update, losses in enumerate([[4.0, 1.0], [2.0, 1.0]]):
        assert built(context(2, losses=losses, update=update)).tolist() == [1, 1]
        built.observe(observed(losses, update=update))
    # gaps 1.5 / 3 and 1 / 1
    found = built(context(2, losses=[1.5, 1.0], update=2))
    one, other = math.exp(0.5), math.exp(1)
    assert found.tolist() == pytest.approx([2 * one / (one + other), 2 * other / (one + other)])
    assert built.scalars() == {"gap_detection": 0.5, "gap_semantic": 1.0}


def test_with_the_logarithm_a_losss_scale_does_not_matter():
    found = []
    for factor in (1.0, 1000.0):
        scalar = scalarization(2, "igb", "log", period=1)
        scalar.weighting.observe(observed([4.0, factor]))
        losses = torch.tensor([1.0, 0.5 * factor], dtype=torch.float64, requires_grad=True)
        (c,) = torch.autograd.grad(scalar(losses, context(2, losses=losses.tolist(), update=1)), losses)
        found.append((c * losses.detach()).tolist())
    assert found[0] == pytest.approx(found[1])
    assert sum(found[0]) == pytest.approx(2)


@pytest.mark.parametrize(("name", "begins"), [("igb", 100), ("stch", 500), ("dwa", 200)])
def test_a_run_too_short_for_it_is_warned_of(caplog, name, begins):
    options = {"period": 100} if name != "stch" else {}
    weighting(2, name, **options)  # in a training of 100 updates
    assert f"from update {begins} on, but SOLVER.MAX_ITER is 100" in caplog.text
    caplog.clear()
    weighting(2, name, **{"period": 40, **({"warmup": 9} if name == "stch" else {})})
    assert not caplog.text


def test_absent_tasks_are_left_out_of_the_softmax():
    built = weighting(3, "igb", period=1)
    built.observe(observed([1.0, 1.0, 1.0]))
    found = built(context(3, [True, False, True], [1.0, 0.0, 1.0], 1))
    assert found[[0, 2]].tolist() == pytest.approx([1, 1])
