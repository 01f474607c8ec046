import importlib.util
from pathlib import Path

import pytest
import torch

from mtl_d2.balancing import Oracle

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/toy_problem.py"
spec = importlib.util.spec_from_file_location("toy_problem", EXAMPLE)
toy_problem = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy_problem)

BEHIND_VALLEY, BOWL, FAR = toy_problem.STARTS


def gradients(point):
    oracle = Oracle(toy_problem.ToyProblem(point))
    oracle.load([toy_problem.SAMPLE])
    found = oracle.gradients()
    return found.losses, torch.stack([row[0] for row in found.rows])


def distance_to_pareto_set(point):
    return float((toy_problem.pareto_set() - point).norm(dim=-1).min())


def test_losses_are_those_of_the_paper():
    upper, lower = gradients((-7.0, 2.0))[0], gradients((7.0, -8.0))[0]
    # tanh(1) = 0.761594, tanh(2) = 0.964028, tanh(4) = 0.999329
    assert upper.tolist() == pytest.approx([0.761594 * (-0.036635 + 6), 0.761594 * (1.797737 + 6)], rel=1e-5)
    assert lower.tolist() == pytest.approx([0.999329 * -20, 0.999329 * (19.6 - 20)], rel=1e-5)


@pytest.mark.parametrize("point", [*toy_problem.STARTS, (0.3, 0.7), (2.0, -0.4)])
def test_rows_agree_with_finite_differences(point):
    point = torch.tensor(point, dtype=torch.float64)
    steps = 1e-6 * torch.eye(2, dtype=torch.float64)
    expected = (toy_problem.losses(point + steps) - toy_problem.losses(point - steps)).T / 2e-6
    torch.testing.assert_close(gradients(point.tolist())[1], expected, rtol=1e-6, atol=1e-7)


def test_both_gradients_cancel_on_the_pareto_set_and_nowhere_near_the_starts():
    assert max(toy_problem.stationarity(point) for point in toy_problem.pareto_set(5).tolist()) < 1e-12
    assert min(toy_problem.stationarity(start) for start in toy_problem.STARTS) > 0.01


@pytest.mark.parametrize("method", ["mgda", "cagrad"])
@pytest.mark.parametrize("start", [BEHIND_VALLEY, FAR])
def test_mgda_and_cagrad_come_near_the_pareto_set_from_behind_the_valleys(method, start):
    end = toy_problem.trace(method, start, 400, lr=0.1)[-1]
    assert distance_to_pareto_set(end) < 2
    assert toy_problem.stationarity(end.tolist()) < 0.1


def test_cagrad_ends_at_the_least_mean_loss_and_mgda_where_it_met_the_pareto_set():
    cagrad, mgda = (toy_problem.trace(method, BOWL, 300, lr=0.1)[-1] for method in ("cagrad", "mgda"))
    assert abs(float(cagrad[0])) < 0.1
    assert float(mgda[0]) < -6
    assert max(distance_to_pareto_set(cagrad), distance_to_pareto_set(mgda)) < 0.2


def test_sum_creeps_along_the_valley_that_mgda_walks_down():
    start = (-5.0, 2.0)  # between the walls, where the gradients nearly cancel
    y = {m: float(toy_problem.trace(m, start, 200, lr=0.005)[-1, 1]) for m in ("sum", "cagrad", "mgda")}
    assert y["sum"] > 1.9
    assert y["cagrad"] < 1.8
    assert y["mgda"] < 1.0


def test_a_path_repeats_bit_for_bit():
    one, other = (toy_problem.trace("pcgrad", FAR, 50, lr=0.1) for _ in range(2))
    assert torch.equal(one, other)
