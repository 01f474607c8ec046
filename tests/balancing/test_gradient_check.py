import pytest
import torch
from torch import nn

from mtl_d2.balancing.exact.rows import GradientCheck


def owned(*gradients):
    pairs = [(f"part {k}", nn.Parameter(torch.zeros(len(values)))) for k, values in enumerate(gradients)]
    for (_, parameter), values in zip(pairs, gradients, strict=True):
        parameter.grad = torch.tensor(values)
    return pairs


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("norms", [False, True])
def test_owner_of_one_entry_that_is_not_finite_is_named(number, norms):
    assert GradientCheck(owned([1.0, 2.0], [0.0, number]), norms).read()[0] == ["part 1"]


def test_a_norm_that_is_too_large_for_its_type_is_no_mistake_where_nobody_needs_it():
    gradients = owned([3e38, -3e38], [float("nan")])
    assert GradientCheck(gradients).read()[0] == ["part 1"]
    assert GradientCheck(gradients, norms=True).read()[0] == ["part 0", "part 1"]


def test_infinities_of_both_signs_do_not_cancel():
    assert GradientCheck(owned([float("inf"), -float("inf")])).read()[0] == ["part 0"]
