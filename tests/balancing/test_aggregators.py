"""Properties that every registered aggregator has, through the gradient stage."""

import pytest
import torch
from toy import balancer, batch, complaints, context, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.registry import AGGREGATORS, load_methods

load_methods()
NAMES = AGGREGATORS.names()
ORDERED = {
    "pareto": "has preferences by task",
    "pcgrad": "projects in a random order",
    "gradvac": "turns in a random order",
    "pcd": "has a primary task",
}
CONSTANT = ("mean", "sum")
ELEMENTWISE = ("graddrop",)
HARMING = {"aligned_mtl": "g_i . update is entry i of the root of G times 1, which can be negative"}
WITHOUT_CONFLICT = {"cagrad": 1.4 / 1.16}  # (1 + c) / (1 + c^2)
ORTHONORMAL = WITHOUT_CONFLICT | {"pcd": 1.06 / 1.0012**0.5}  # of four: (1 + 3 tau) / sqrt(1 + 3 tau^2)
LENGTHENING = ("fairgrad", "pivrg")  # w_i ||g_i|| grows as ||g_i||^(-1/3) does: MAX_NORM bounds the update
MILD = {"dualproj": "leaves the mean alone where it harms no task"}


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def scaled(exponents, seed=0):
    draws = torch.randn(len(exponents), 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws * 10.0 ** torch.tensor(exponents, dtype=torch.float64)[:, None]


JACOBIANS = {
    "tiny": scaled([-12, -12, -12]),
    "huge": scaled([12, 12, 12]),
    "tiny and huge": scaled([-12, 0, 12]),
    "below float32": scaled([-80, -80]),
    "opposite": rows([1, 2], [-1, -2]),
    "opposite, other lengths": rows([1, 2], [-3, -6]),
    "opposite and one more": rows([1, 0], [-1, 0], [0, 1]),
    "nearly opposite": rows([1, 1e-7], [-1, 1e-7]),
    "parallel": rows([1, 2], [2, 4]),
    "equal": rows([1, 2], [1, 2], [1, 2]),
    "zero row": rows([1, 2], [0, 0], [-2, 1]),
    "only zero rows": rows([0, 0], [0, 0]),
    "cancelling": rows([1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]),
    "dependent": rows([1, 0], [0, 1], [1, 1], [-1, 2]),
    "ten": scaled([0] * 10),
    "ten of every size": scaled(range(-5, 5)),
    "one": rows([3, 4]),
}


def weights(name, jacobian, present=None, losses=None, **options):
    T = len(jacobian)
    return stage(T, name, **options)(jacobian @ jacobian.T, context(T, present, losses)).shared


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", JACOBIANS)
def test_update_is_finite_and_not_much_longer_than_the_gradients(name, case):
    jacobian = JACOBIANS[case]
    found = weights(name, jacobian)
    assert found.isfinite().all()
    if name in LENGTHENING:
        return
    # 1e-3: what rounding leaves of rows that cancel each other
    assert (found @ jacobian).norm() <= (1 + 1e-3) * (2 * len(jacobian)) * jacobian.norm(dim=1).sum()


@pytest.mark.parametrize("name", NAMES)
def test_absent_task_gets_nothing_and_changes_nothing(name):
    jacobian = scaled([0, 0, 0])
    found = weights(name, jacobian, [True, False, True])
    assert found[1] == 0
    assert found[[0, 2]].abs().max() > 0
    changed = jacobian.clone()
    changed[1] = -100 * changed[0]
    assert torch.equal(weights(name, changed, [True, False, True]), found)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in CONSTANT])
def test_task_without_gradient_gets_weight_zero(name):
    assert weights(name, JACOBIANS["zero row"])[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_weights_do_not_depend_on_a_common_factor(name):
    jacobian = scaled([0, 0, 0, 0])
    for factor in (1e-12, 1e12):
        torch.testing.assert_close(weights(name, factor * jacobian), weights(name, jacobian), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_one_task_gets_its_own_gradient(name):
    found = weights(name, rows([3, 4]))
    assert found[0] == pytest.approx(WITHOUT_CONFLICT.get(name, 1.0))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ORDERED])
def test_order_of_the_tasks_does_not_matter(name):
    jacobian = scaled([0, 0.3, -0.3, 0.1])
    order = [2, 0, 3, 1]
    torch.testing.assert_close(weights(name, jacobian[order]), weights(name, jacobian)[order], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*CONSTANT, *ELEMENTWISE, *MILD)])
def test_under_conflict_it_differs_from_the_sum(name):
    jacobian = rows([1, 0], [-0.9, 0.5])
    found = weights(name, jacobian) @ jacobian
    plain = jacobian.sum(0)
    assert found @ plain < 0.999 * found.norm() * plain.norm()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*CONSTANT, *ELEMENTWISE, *HARMING)])
def test_of_two_conflicting_tasks_none_is_harmed(name):
    jacobian = rows([5, 0], [-0.9, 0.5])
    assert (jacobian.sum(0) @ jacobian[1]) < 0
    update = weights(name, jacobian, **({"c": 0.99} if name == "cagrad" else {})) @ jacobian
    assert (jacobian @ update > -1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_scale_names_the_sum_of_weights_of_orthonormal_rows(name):
    method = AGGREGATORS.get(name)
    expected = {"sum": 4.0, "mean": ORTHONORMAL.get(name, 1.0)}[method.scale]
    assert weights(name, torch.eye(4, dtype=torch.float64)).sum().item() == pytest.approx(expected, rel=1e-6)


def asked(method, num_tasks):
    """Values for the options that have no default for any number of tasks."""
    known = {"metrics": tuple(f"m/{k}" for k in range(num_tasks)), "potentials": (50.0,) * num_tasks}
    return {key: value for key, value in known.items() if key in method.options}


@pytest.mark.parametrize("name", NAMES)
def test_default_options_are_accepted_and_explained(name):
    method = AGGREGATORS.get(name)
    for num_tasks in (2, 5):
        assert complaints(method, num_tasks, **asked(method, num_tasks)) == []
    assert all(option.help for option in method.options.values())


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("cagrad", {"c": 1.0}, "C must be a finite number >= 0 and < 1, got 1.0"),
        ("cagrad", {"rescale": 3}, "RESCALE must be one of 0, 1, 2, got 3"),
        ("mgda", {"normalization": "l1"}, "NORMALIZATION must be one of"),
        ("aligned_mtl", {"balance": "max"}, "BALANCE must be one of"),
        ("graddrop", {"leak": (0.5,)}, "LEAK needs one number for each of the 2 tasks"),
        (
            "graddrop",
            {"leak": (0.5, 2)},
            "LEAK must be a list in which each entry is a finite number >= 0 and <= 1, got (0.5, 2)",
        ),
        ("nash_mtl", {"max_norm": -1.0}, "MAX_NORM must be a finite number >= 0"),
        ("fairgrad", {"alpha": 0.0}, "ALPHA must be a finite number >= 0.05 and <= 10, got 0.0"),
        ("gradvac", {"beta": 1.5}, "BETA must be a finite number >= 0 and <= 1"),
        ("pcd", {"tau": -0.1}, "TAU must be a finite number >= 0 and <= 1"),
        ("nash_mtl", {"every": 0}, "EVERY must be a whole number >= 1"),
        ("pareto", {"preferences": (1, 0, 1)}, "PREFERENCES needs 2 numbers >= 0"),
        ("pareto", {"preferences": (0, 0)}, "PREFERENCES needs 2 numbers >= 0"),
        ("pareto", {"count": 1}, "COUNT must be a whole number >= 2"),
        ("pareto", {"index": 5}, "INDEX must be None or one of the 5 preference vectors"),
        ("pareto", {"init_updates": -1}, "INIT_UPDATES must be a whole number >= 0 or None"),
    ],
)
def test_options_out_of_range_are_named(name, options, complaint):
    method = AGGREGATORS.get(name)
    found = complaints(method, **options)
    assert any(complaint in line for line in found), found


@pytest.mark.parametrize("name", NAMES)
def test_training_with_an_absent_task_moves_what_it_should(name):
    model = toy(3)
    oracle, made = Oracle(model), balancer(3, stage(3, name))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for update in range(2):
        oracle.load(batch(("detection", "semantic"), ("semantic",), seed=update), update)
        result = made(oracle, update, optimizer.step)
    assert result.weights.shared[2] == 0
    for key, value in model.state_dict().items():
        assert value.isfinite().all()
        assert torch.equal(value, before[key]) == key.startswith(("heads.depth", "unused"))
