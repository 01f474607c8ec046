import torch
from torchjd.scalarization import Random
from toy import context, scalarization, weighting

LOSSES = [2.0, 30.0, 0.4]


def test_weights_are_the_softmax_of_normal_draws():
    torch.manual_seed(7)  # context keys its generator by the update
    expected = Random()(torch.tensor(LOSSES, dtype=torch.float64))
    S = scalarization(3, "rlw")(torch.tensor(LOSSES, dtype=torch.float64), context(3, losses=LOSSES, update=7))
    torch.testing.assert_close(S, expected, rtol=1e-14, atol=0)


def test_weights_are_positive_and_add_up_to_one_with_mean_one_over_t():
    drawn = torch.stack([weighting(3, "rlw")(context(3, update=t)) for t in range(2000)])
    assert (drawn > 0).all()
    torch.testing.assert_close(drawn.sum(1), torch.ones(2000, dtype=torch.float64))
    assert (drawn.mean(0) - 1 / 3).abs().max() < 0.02


def test_every_update_draws_anew_and_an_absent_task_changes_no_draw():
    first = weighting(3, "rlw")(context(3, update=0))
    assert (first != weighting(3, "rlw")(context(3, update=1))).all()
    assert torch.equal(first, weighting(3, "rlw")(context(3, [True, False, True], update=0)))
