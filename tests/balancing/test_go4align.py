import itertools
import math

import pytest
import torch
from observed import observed
from toy import complaints, context, weighting

from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.weighting.go4align import group_means


def test_weights_by_hand():
    built = weighting(2, "go4align", groups=2, step=math.log(2))
    # p after losses of 2 and 1: 1/4 : 1/2, that is 1/3 and 2/3; times 3/2 and 3/1
    assert built(context(2, losses=[2.0, 1.0])).tolist() == pytest.approx([0.5, 2.0])
    built.observe(observed([2.0, 1.0]))
    assert built.scalars() == {"p_detection": pytest.approx(1 / 3), "p_semantic": pytest.approx(2 / 3)}
    # again: 1/5 and 4/5
    assert built(context(2, losses=[2.0, 1.0])).tolist() == pytest.approx([0.3, 2.4])


def test_one_group_has_one_weight():
    found = weighting(3, "go4align", groups=1, step=0.0)(context(3, losses=[1.0, 1.0, 2.0]))
    assert found.tolist() == pytest.approx([(4 + 4 + 2) / 9] * 3)


def test_like_tasks_share_a_weight():
    values = torch.tensor([1.0, 10.0, 2.0, 11.0], dtype=torch.float64)
    assert group_means(values, 2).tolist() == [1.5, 10.5, 1.5, 10.5]
    assert group_means(values, 4).tolist() == values.tolist()
    assert group_means(values, 9).tolist() == values.tolist()


def test_no_other_grouping_is_tighter():
    values = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for groups in (2, 3):
        found = float(((values - group_means(values, groups)) ** 2).sum())
        for labels in itertools.product(range(groups), repeat=6):
            members = [values[torch.tensor([label == g for label in labels])] for g in range(groups)]
            if all(map(len, members)):
                assert found <= sum(float(((m - m.mean()) ** 2).sum()) for m in members) + 1e-12


def test_an_absent_task_has_no_weight_and_is_in_no_group():
    found = weighting(3, "go4align", groups=1, step=0.0)(context(3, [True, False, True], [1.0, 50.0, 1.0]))
    assert found.tolist() == pytest.approx([1, 0, 1])


def test_absent_tasks_do_not_shrink_the_others():
    for present, expected in (([True, True, True], [1, 1, 1]), ([True, False, False], [1, 0, 0])):
        found = weighting(3, "go4align", groups=3, step=0.0)(context(3, present, [float(there) for there in present]))
        assert found.tolist() == pytest.approx(expected)


def test_negative_losses_are_refused():
    with pytest.raises(ValueError, match="'go4align' needs losses >= 0"):
        weighting(2, "go4align")(context(2, losses=[0.1, -4.7]))


def test_more_groups_than_tasks_are_refused():
    assert complaints(WEIGHTINGS.get("go4align"), groups=3) == ["GROUPS must be at most the number of tasks 2, got 3"]
