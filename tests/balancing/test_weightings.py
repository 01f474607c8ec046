"""What holds for every weighting."""

import copy

import pytest
import torch
from observed import observed
from toy import NAMES, balancer, batch, complaints, context, mclgs, scalarization, stage, toy, weighting

from mtl_d2.balancing import Oracle, Scalarization
from mtl_d2.balancing.registry import WEIGHTINGS

GEOMETRIC = [name for name in WEIGHTINGS.names() if WEIGHTINGS.get(name).geometric]
PAIRS = [(name, "arithmetic") for name in WEIGHTINGS.names()] + [
    (name, mean) for name in GEOMETRIC for mean in ("geometric", "log")
]
CONSTANT = ("equal", "fixed")
OF_THIS_UPDATE = ("uwso", "go4align")  # nothing but the losses of an update makes their weights differ, or hardly
TRAINED = [name for name in WEIGHTINGS.names() if list(weighting(2, name).parameters())]
BOTH = ("detection", "semantic")


def options(name, num_tasks):
    """Values for those options of a method that have no default for any number of tasks; small windows."""
    known = {
        "metrics": tuple(f"m/{k}" for k in range(num_tasks)),
        "potentials": (50.0,) * num_tasks,
        "period": 2,
        "warmup": 0,
    }
    return {key: value for key, value in known.items() if key in WEIGHTINGS.get(name).options}


def results(num_tasks, best=60.0):
    return {"m": {str(k): best * (k + 1) / num_tasks for k in range(num_tasks)}}


def built(name, num_tasks, mean="arithmetic"):
    return scalarization(num_tasks, name, mean, **options(name, num_tasks))


def rounds(num_tasks):
    """Losses and present tasks of some updates: tiny, huge and mixed losses, and absent tasks."""
    scales = 10.0 ** torch.linspace(-12, 12, num_tasks, dtype=torch.float64)
    rows = [
        scales,
        scales.flip(0),
        torch.full_like(scales, 1e-12),
        torch.full_like(scales, 1e12),
        torch.ones_like(scales),
    ]
    for k, losses in enumerate(rows + rows[::-1]):
        present = torch.ones(num_tasks, dtype=torch.bool)
        present[k % num_tasks] = num_tasks == 1 or k % 3 != 1
        yield losses * present, present


def coefficients(scalar, losses, present, update):
    scene = context(len(losses), present.tolist(), losses.tolist(), update)
    leaf = losses.clone().requires_grad_()
    own = list(scalar.parameters())
    S = scalar(leaf, scene)
    c, *rest = torch.autograd.grad(S, [leaf, *own], allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(own, rest, strict=True):
            assert torch.isfinite(gradient).all()
            parameter -= 0.1 * gradient
    return S.detach(), c


def show(scalar, c, losses, present, update):
    norms = (losses * 3 + 1e-12).tolist()
    scalar.weighting.observe(observed(losses.tolist(), present.tolist(), norms, c, update))


@pytest.mark.parametrize("num_tasks", [1, 2, 10])
@pytest.mark.parametrize(("name", "mean"), PAIRS)
def test_coefficients_are_finite_and_absent_tasks_have_none(name, mean, num_tasks):
    scalar = built(name, num_tasks, mean)
    for update, (losses, present) in enumerate(rounds(num_tasks)):
        S, c = coefficients(scalar, losses, present, update)
        assert torch.isfinite(S)
        assert torch.isfinite(c).all()
        assert (c[present] >= 0).all()
        assert (c[~present] == 0).all()
        show(scalar, c, losses, present, update)
        if update % 3 == 0:
            scalar.weighting.on_evaluation(results(num_tasks))
        assert all(isinstance(value, float) for value in scalar.weighting.scalars().values())


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_state_survives_after_any_number_of_updates(name):
    updates = list(rounds(3))
    for seen in range(6):
        one, two = built(name, 3), built(name, 3)
        for update, (losses, present) in enumerate(updates):
            if update == seen:
                two.load_state_dict(copy.deepcopy(one.state_dict()))
            for scalar in (one, two) if update >= seen else (one,):
                _, c = coefficients(scalar, losses, present, update)
                show(scalar, c, losses, present, update)
                if update == 3:
                    scalar.weighting.on_evaluation(results(3))
        final = [scalar.weighting(context(3)).tolist() for scalar in (one, two)]
        assert final[0] == final[1]


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_weights_are_a_function_of_state_seed_and_update(name):
    losses = torch.tensor([1.0, 2.0])
    present = torch.ones(2, dtype=torch.bool)
    scalar = built(name, 2)
    scenes = [balancer(2, scalar=scalar, seed=s).context(losses.double(), present, t) for s, t in [(3, 8), (3, 8)]]
    first, second = (scalar.weighting(scene).tolist() for scene in scenes)
    assert first == second
    assert scalar.weighting(balancer(2, seed=3).context(losses.double(), present, 8)).tolist() == first


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS.names() if name not in (*CONSTANT, *OF_THIS_UPDATE)])
def test_differs_from_the_sum_after_some_updates(name):
    scalar = built(name, 2)
    for update, losses in enumerate([[1.0, 4.0], [1.0, 4.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]):
        losses, present = torch.tensor(losses, dtype=torch.float64), torch.ones(2, dtype=torch.bool)
        _, c = coefficients(scalar, losses, present, update)
        show(scalar, c, losses, present, update)
        scalar.weighting.on_evaluation(results(2))
    assert abs(c[0] / c[1] - 1) > 0.01


def direction(name, factor):
    """Shared gradient of the last of five updates at one point, with the loss of ``semantic`` times ``factor``."""
    model = toy()
    original = model.task_losses

    def scaled(task, *args):
        found = original(task, *args)
        return {key: value * factor for key, value in found.items()} if task == "semantic" else found

    model.task_losses = scaled
    oracle, method = Oracle(model), balancer(2, scalar=built(name, 2, "geometric"))
    for update in range(5):
        oracle.load(batch(*[BOTH] * 4, seed=update))
        model.zero_grad()
        method(oracle, update, lambda: None)
        method.scalarization.weighting.on_evaluation(results(2))
    return torch.cat([p.grad.flatten() for p in oracle.shared if p.grad is not None])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_direction_under_the_geometric_mean_does_not_depend_on_a_losss_scale(name):
    one, other = direction(name, 1.0), direction(name, 100.0)
    torch.testing.assert_close(one / one.norm(), other / other.norm(), rtol=1e-9, atol=1e-12)
    assert abs(other.norm() / one.norm() - 1) > 0.1  # the length does


@pytest.mark.parametrize("name", TRAINED)
def test_own_parameters_get_the_plain_derivative_with_and_without_mclgs(name):
    found = []
    for scaling in (None, mclgs(2, a0=50.0)):
        scalar = built(name, 2)
        oracle = Oracle(toy())
        oracle.load(batch(*[BOTH] * 4))
        result = balancer(2, stage(2, "mean", scaling), scalar)(oracle, 0, lambda: None)
        parameter = next(iter(scalar.parameters()))
        S = (
            scalar.weighting(context(2, losses=result.losses.tolist())) * result.losses
        ).sum() + scalar.weighting.offset(result.present)
        (expected,) = torch.autograd.grad(S, [parameter])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=0)
        found.append(parameter.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_options_are_described_and_accepted(name):
    method = WEIGHTINGS.get(name)
    assert all(option.help for option in method.options.values())
    scene = balancer(2).setup
    assert complaints(method, **options(name, 2)) == []
    assert isinstance(Scalarization(weighting(2, name)), Scalarization)  # built with its defaults alone
    assert scene.tasks == NAMES[:2]
