import math

import pytest
import torch
from toy import complaints, context, mclgs, stage

from mtl_d2.balancing.exact.rows import cosines
from mtl_d2.balancing.registry import ROW_SCALINGS


def gram(*rows):
    rows = torch.tensor(rows, dtype=torch.float64)
    return rows @ rows.T


def test_two_tasks_by_hand():
    # g1 = (1, 0), g2 = (0.6, 0.8) * 5: cosine 0.6; p(0) = 2: w = tanh(1.2) + 1 = 1.8336546070121553
    scaling = mclgs(2, a0=2.0)
    weights = stage(2, "mean", scaling)(gram([1, 0], [3, 4]), context(2))
    assert weights.shared.tolist() == pytest.approx([1.8336546070121553 / 2] * 2, rel=1e-14)
    assert weights.heads.tolist() == weights.shared.tolist()


def test_three_tasks_by_hand():
    # orthogonal, parallel and opposite pairs: cosines (1,2) = 0, (1,3) = -1, (2,3) = 0; p = 1
    # w12 = 1, w13 = 1 - tanh 1, w23 = 1; alpha = ((w12 + w13)/2, (w12 + w23)/2, (w13 + w23)/2)
    opposite = 1 - 0.7615941559557649
    alpha = mclgs(3, a0=1.0)(gram([1, 0], [0, 5], [-2, 0]), context(3))
    assert alpha.tolist() == pytest.approx([(1 + opposite) / 2, 1.0, (1 + opposite) / 2], rel=1e-14)


def test_update_is_the_papers_sum_over_pairs():
    # eq. 4, written as it stands there, against weights @ rows
    torch.manual_seed(0)
    rows = torch.randn(5, 7, dtype=torch.float64)
    t, p = 3, mclgs(5, a0=4.0).pacing(3)
    expected = torch.zeros(7, dtype=torch.float64)
    for i in range(4):
        for j in range(i + 1, 5):
            cosine = rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm())
            expected += (torch.tanh(cosine * p) + 1) * (rows[i] + rows[j]) / (5 * 4)
    weights = stage(5, "mean", mclgs(5, a0=4.0))(rows @ rows.T, context(5, update=t))
    torch.testing.assert_close(weights.shared @ rows, expected, rtol=1e-13, atol=1e-13)


def test_linear_pacing_reaches_zero_after_r_t_trainings():
    scaling = mclgs(2, total_updates=100, a0=120.0, r_t=2.0)
    assert [scaling.pacing(t) for t in (0, 100, 199, 200, 300)] == pytest.approx([120, 60, 0.6, 0, 0])
    assert mclgs(2, r_t=None, delta_a=0.5, a0=3.0).pacing(4) == 1.0


def test_exponential_pacing():
    assert mclgs(2, pacing="exponential", a0=8.0, r_a=0.5).pacing(3) == 1.0


def test_papers_decay_on_bdd100k():
    # a0 = 120, r_t = 2, 30 epochs of 77,000 images in batches of 16: delta a = 4.2e-4, which the paper rounds to 4.3e-4
    assert mclgs(2, total_updates=144375, a0=120.0, r_t=2.0).delta_a == pytest.approx(4.3e-4, rel=0.05)


def test_without_pacing_it_is_the_mean():
    G = gram([1, 2, 0], [-4, 0, 1], [0, 0, 9])
    weights = stage(3, "mean", mclgs(3, a0=0.0))(G, context(3))
    assert weights.shared.tolist() == stage(3)(G, context(3)).shared.tolist() == [1 / 3] * 3


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_weights_do_not_depend_on_the_scale_of_gradients(scale):
    rows = torch.tensor([[1.0, 2, 3], [3, -1, 0.5], [0, 1, 1]], dtype=torch.float64)
    scaled = rows * torch.tensor([scale, 1.0, 1 / scale], dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        mclgs(3)(scaled @ scaled.T, context(3)), mclgs(3)(rows @ rows.T, context(3)), rtol=1e-9, atol=1e-9
    )


def test_gradients_down_to_the_smallest_double_keep_their_cosine():
    rows = torch.tensor([[1e-160, 0.0], [6e-161, 8e-161]], dtype=torch.float64)
    assert cosines((rows * 1e10) @ (rows * 1e10).T)[0, 1] == pytest.approx(0.6)


def test_zero_gradient_has_cosine_zero_and_weight_one():
    alpha = mclgs(2)(gram([0, 0], [3, 4]), context(2))
    assert alpha.tolist() == [1.0, 1.0]


def test_absent_task_is_nobodys_partner_and_gets_nothing():
    G = gram([1, 0], [-1, 0], [1, 0])
    weights = stage(3, "mean", mclgs(3, a0=1.0))(G, context(3, [True, False, True]))
    both = 1 + math.tanh(1.0)
    assert weights.shared.tolist() == pytest.approx([both / 3, 0, both / 3])


def test_task_alone_keeps_its_weight_in_the_mean():
    weights = stage(2, "mean", mclgs(2))(gram([1, 0], [0, 0]), context(2, [True, False]))
    assert weights.shared.tolist() == [0.5, 0.0]


def test_ten_tasks_stay_in_range():
    torch.manual_seed(3)
    rows = torch.randn(10, 4, dtype=torch.float64) * 10.0 ** torch.arange(-5, 5)[:, None]
    alpha = mclgs(10)(rows @ rows.T, context(10))
    assert ((alpha >= 0) & (alpha <= 2)).all()


def test_conflict_weighs_both_tasks_down_against_the_mean():
    weights = stage(2, "mean", mclgs(2))(gram([1, 0], [-0.2, 1]), context(2))
    assert weights.shared.max() < 1e-6


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delta_a": 0.1}, "exactly one of R_T and DELTA_A"),
        ({"r_t": None}, "exactly one of R_T and DELTA_A"),
        ({"r_t": 0.0}, "R_T must be a finite number > 0 or None, got 0.0"),
        ({"a0": -1.0}, "A0 must be a finite number >= 0, got -1.0"),
        ({"pacing": "exponential"}, "exponential pacing needs R_A"),
        ({"pacing": "cosine"}, "PACING must be"),
    ],
)
def test_contradictory_options_are_named(options, complaint):
    method = ROW_SCALINGS.get("mclgs")
    assert any(complaint in line for line in complaints(method, **options))


def test_default_options_are_accepted():
    method = ROW_SCALINGS.get("mclgs")
    assert complaints(method) == []


def test_training_that_stands_still_is_told_once(caplog):
    scaling, opposite = mclgs(2), gram([1, 0], [-1, 0])
    for update in range(250):
        scaling(opposite, context(2, update=update))
    assert [r.message.startswith("MCLGS has given every task a weight below") for r in caplog.records] == [True]


def test_weights_that_come_back_are_no_standstill(caplog):
    scaling = mclgs(2)
    for update in range(250):
        scaling(gram([1, 0], [1 if update % 50 == 0 else -1, 0]), context(2, update=update))
    assert not caplog.records
