import pytest
import torch

from mtl_d2.balancing import UpdateResult, Weights
from mtl_d2.engine.loop import WINDOW, Diagnostics


def result(gramian, present=(True, True), **more):
    gramian = torch.tensor(gramian, dtype=torch.float64)
    two = torch.tensor([2.0, 3.0], dtype=torch.float64)
    weights = Weights(torch.tensor([0.5, 0.25]).double(), torch.ones(2).double())
    return UpdateResult({}, two, torch.tensor(present), two / 2, weights, gramian, **more)


def test_numbers_of_an_update_by_hand():
    values = Diagnostics(("a", "b"))(result([[4.0, 3.0], [3.0, 9.0]], scalars={"pacing": 7.0}))
    assert values == pytest.approx(
        {
            "pacing": 7.0, "task_loss/a": 2.0, "task_loss/b": 3.0, "coefficient/a": 1.0, "coefficient/b": 1.5,
            "weight/a": 0.5, "weight/b": 0.375, "grad_norm/a": 2.0, "grad_norm/b": 3.0, "cosine/a_b": 0.5,
        }
    )  # fmt: skip


def test_absent_task_is_not_mentioned():
    values = Diagnostics(("a", "b"))(result([[4.0, 0.0], [0.0, 0.0]], present=(True, False)))
    assert not any(name.endswith("b") for name in values)


def test_spread_of_the_cosine_is_over_the_last_fifty_updates():
    diagnostics = Diagnostics(("a", "b"))
    for k in range(2 * WINDOW):
        values = diagnostics(result([[1.0, 0.1 if k % 2 else 0.3], [0.1 if k % 2 else 0.3, 1.0]]))
        assert ("cosine_std/a_b" in values) == (k >= WINDOW - 1)
    assert values["cosine_std/a_b"] == pytest.approx(0.1)


def test_cosine_of_another_level_stands_beside_the_exact_one():
    level = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    values = Diagnostics(("a", "b"))(result([[1.0, 1.0], [1.0, 1.0]], level_gramian=level))
    assert (values["cosine/a_b"], values["cosine_level/a_b"]) == (1.0, -1.0)


def test_spread_of_another_level_is_its_own():
    diagnostics = Diagnostics(("a", "b"))
    for k in range(WINDOW):
        level = torch.tensor([[1.0, k % 2], [k % 2, 1.0]], dtype=torch.float64)
        values = diagnostics(result([[1.0, 0.2], [0.2, 1.0]], level_gramian=level))
    assert values["cosine_level_std/a_b"] == pytest.approx(0.5)
    assert values["cosine_std/a_b"] == pytest.approx(0.0)
