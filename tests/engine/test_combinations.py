"""Any value of one choice goes with any value of another, or the pair is refused with a reason."""

import itertools

import pytest
import torch
from toy import batch, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.registry import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.engine.build import build_allocation, build_balancer

load_methods()
TASKS = ("detection", "semantic")
CHOICES = {
    "MTL.ALLOCATION.NAME": tuple(name for name, _ in ALLOCATIONS),
    "MTL.SCALARIZATION.NAME": WEIGHTINGS.names(),
    "MTL.SCALARIZATION.MEAN": ("arithmetic", "geometric", "log"),
    "MTL.GRADIENT.RESCALE": ("", *ROW_SCALINGS.names()),
    "MTL.GRADIENT.AGGREGATOR": AGGREGATORS.names(),
    "MTL.GRADIENT.LEVEL": ("all", "last_layer", "features"),
    "MTL.REGULARIZER.NAME": ("", *REGULARIZERS.names()),
    "MTL.STEP.NAME": STEPS.names(),
}
# What a method needs to be told before it can be used.
NEEDED = [
    "MTL.SCALARIZATION.ACHIEVEMENT.METRICS", ("bbox/AP", "sem_seg/mIoU"),
    "MTL.SCALARIZATION.ACHIEVEMENT.POTENTIALS", (40.0, 60.0),
    "MTL.SCALARIZATION.DTP.METRICS", ("bbox/AP", "sem_seg/mIoU"),
    "MTL.GRADIENT.PIVRG.METRICS", ("bbox/AP", "sem_seg/mIoU"),
    "MTL.GRADIENT.PIVRG.POTENTIALS", (40.0, 60.0),
    "MTL.DATA.VALIDATION_SHARE", 0.2,
    "TEST.EVAL_PERIOD", 5,
]  # fmt: skip
REASONS = ("undefined with", "needs each task's gradient of the parameters")


def pairs():
    for (one, first), (other, second) in itertools.combinations(CHOICES.items(), 2):
        for a, b in itertools.product(first, second):
            yield pytest.param([one, a, other, b], id=f"{a or 'none'}-{b or 'none'}")


def allowed(chosen):
    """Whether no reason of ``REASONS`` speaks against some values of choices."""
    weighting = WEIGHTINGS.get(chosen.get("MTL.SCALARIZATION.NAME", "fixed"))
    aggregator = AGGREGATORS.get(chosen.get("MTL.GRADIENT.AGGREGATOR", "sum"))
    step = STEPS.get(chosen.get("MTL.STEP.NAME", "joint"))
    takes_logarithms = chosen.get("MTL.SCALARIZATION.MEAN", "arithmetic") != "arithmetic"
    rows = weighting.needs_rows or aggregator.elementwise or aggregator.bounds_length or step.several_points
    return (weighting.geometric or not takes_logarithms) and not (
        rows and chosen.get("MTL.GRADIENT.LEVEL") == "features"
    )


def covering():
    """Values of all choices at once, few of them, such that every pair of values that is allowed is in one."""

    def of(chosen):
        return set(itertools.combinations(sorted(chosen.items()), 2))

    every = [dict(p.values[0][k : k + 2] for k in (0, 2)) for p in pairs()]
    left = dict.fromkeys(tuple(sorted(pair.items())) for pair in every if allowed(pair))
    while left:
        chosen = dict(next(iter(left)))
        for key in sorted(CHOICES.keys() - chosen.keys()):
            fitting = [value for value in CHOICES[key] if allowed({**chosen, key: value})]
            chosen[key] = max(fitting, key=lambda value: len(of({**chosen, key: value}) & left.keys()))
        for pair in of(chosen):
            left.pop(pair, None)
        yield pytest.param(
            [x for pair in chosen.items() for x in pair], id="-".join(v or "none" for v in chosen.values())
        )


def two_updates(cfg):
    """Trains the toy model; its parameters before and after."""
    model = toy(2)
    before = torch.cat([p.detach().clone().flatten() for p in model.parameters()])
    balancer, allocation = build_balancer(cfg).double(), build_allocation(cfg)
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], lr=0.01)
    oracle = Oracle(model)
    mapped = [dict(s, position=i) for i, s in enumerate(batch(*[TASKS] * 8))]
    batches = allocation(iter([mapped[:4], mapped[4:]] * 2))
    for update in range(2):
        oracle.load(next(batches), update)
        balancer(oracle, update, optimizer.step)
    balancer.on_evaluation({"bbox": {"AP": 20.0}, "sem_seg": {"mIoU": 50.0}})
    return before, torch.cat([p.detach().flatten() for p in model.parameters()])


def check_combination(cfg, overrides):
    """Whether it trains; else it has to be refused for one of the ``REASONS``."""
    cfg.merge_from_list([*NEEDED, *overrides])
    try:
        check_mtl_config(cfg)
    except ConfigError as refusal:
        lines = str(refusal).splitlines()[1:]
        assert all(any(reason in line for reason in REASONS) for line in lines), lines
        return False
    before, after = two_updates(cfg)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    return True


@pytest.mark.parametrize("overrides", pairs())
def test_every_pair_of_choices_trains_or_says_why_not(cfg, overrides):
    trains = check_combination(cfg, overrides)
    assert trains == allowed(dict([overrides[:2], overrides[2:]]))


@pytest.mark.slow
@pytest.mark.parametrize("weighting", CHOICES["MTL.SCALARIZATION.NAME"])
@pytest.mark.parametrize("allocation", CHOICES["MTL.ALLOCATION.NAME"])
def test_the_full_product_trains_or_says_why_not(cfg, allocation, weighting):
    fixed = ["MTL.ALLOCATION.NAME", allocation, "MTL.SCALARIZATION.NAME", weighting]
    others = {key: values for key, values in CHOICES.items() if key not in fixed}
    for values in itertools.product(*others.values()):
        chosen = [x for pair in zip(others, values, strict=True) for x in pair]
        check_combination(cfg.clone(), [*fixed, *chosen])
