"""Several processes against one, on the same global batch."""

import os
import subprocess
import sys
import tempfile
from itertools import pairwise

import pytest
import torch
import torch.multiprocessing as mp
from blocks import blocks
from detectron2.utils.events import EventStorage
from rank_cases import (
    DENSE,
    DENSE_LABELLED,
    FOUR,
    MCLGS,
    B,
    D,
    S,
    assert_same,
    combine_nearly_parallel,
    prepare,
    serve,
    train_fcos,
    train_toy,
)
from small import small_cfg
from test_combinations import CHOICES, covering
from toy import balancer, batch, mclgs, regularizer, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.config import ConfigError
from mtl_d2.data.allocation.full import Full
from mtl_d2.engine.build import build_reduction
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.parallel.replicas import ReplicaCheck, ReplicaError, checksums

PRESENCE = {
    "both tasks everywhere": [B, B, B, B],
    "one task on each rank": [D, D, S, S],
    "unequal counts": [D, S, D, D],
    "a task absent everywhere": [D, D, D, D],
    "a rank without labels": [(), (), D, S],
    "a rank without samples": [D, B],
}
GRADDROP = ["MTL.GRADIENT.AGGREGATOR", "graddrop"]
COSREG = ["MTL.REGULARIZER.NAME", "cosreg", "MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD", "finite"]
MODES = {
    "mclgs": MCLGS,
    "cagrad": ["MTL.GRADIENT.AGGREGATOR", "cagrad"],
    "last layer": [*MCLGS, "MTL.GRADIENT.LEVEL", "last_layer"],
    "gradnorm, split": ["MTL.SCALARIZATION.NAME", "gradnorm", "MTL.STEP.NAME", "split"],
    "features": [*MCLGS, "MTL.GRADIENT.LEVEL", "features", "MTL.GRADIENT.EXACT_EVERY", 2],
    "cosreg": [*MCLGS, *COSREG],
    "angles": ["MTL.GRADIENT.EXACT_EVERY", 2],
}
DETECTOR = {"mclgs": [], "graddrop": GRADDROP, "sta and dwa": ["MTL.ALLOCATION.NAME", "sta", *COSREG[:2]]}


def one_update(samples, scaling):
    """Gradients and numbers of one update of the toy model; ``samples`` are the global batch, in two halves."""
    reduction = build_reduction()
    if reduction.world_size == 2:
        samples = samples[2 * reduction.collectives.rank : 2 * reduction.collectives.rank + 2]
    model = toy(2)
    oracle = Oracle(model, reduction)
    oracle.load(samples)
    built = stage(2, "mean", mclgs(2, a0=0.7) if scaling else None)
    result = balancer(2, built, scalarization(2, weights=(1.7, 0.3)))(oracle, 0, lambda: None)
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()} | {
        "losses": result.losses, "gramian": result.gramian, "weights": result.weights.shared
    }  # fmt: skip


def update_blocks(samples, mode):
    """The same of a model with parameters that heads alone share; process 1 has no sample of a task."""
    reduction, model = build_reduction(mode), blocks(3)
    if reduction.world_size == 2:
        samples = samples[2 * reduction.rank : 2 * reduction.rank + 2]
    oracle = Oracle(model, reduction)
    oracle.load(samples)
    result = balancer(3, stage(3, "mean", mclgs(3, a0=0.7)))(oracle, 0, lambda: None)
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()} | {
        "gramian": result.gramian
    }


def tamper(updates, period):
    """The complaint about rank 1, which moves one parameter by the least there is after update 2."""
    model, reduction = toy(2, dtype=torch.float32), build_reduction()
    check = ReplicaCheck(period, model, balancer(2), reduction)
    for update in range(updates):
        if update == 2 and reduction.collectives.rank == 1:
            with torch.no_grad():
                model.fine.weight[1, 1] = model.fine.weight[1, 1].nextafter(torch.tensor(9.0))
        try:
            check(update)
        except ReplicaError as error:
            return str(error)
    return ""


PARTS = {
    "unequal shares": ([B, D, S, B, D, B, B], 2),
    "a task in one micro-batch of one process": ([D, S, D, D, D, D], 3),
    "fewer samples than micro-batches": ([B, D, S], 1),
}
SCALE = 64.0  # of float16, at which nothing overflows by itself
METHODS = {
    "mclgs": lambda: {"built": stage(2, "mean", mclgs(2, a0=0.7))},
    "one backward": lambda: {"built": stage(2, "sum")},
    "famo": lambda: {"built": stage(2, "sum"), "scalar": scalarization(2, "famo")},
    "cosreg": lambda: {"regularizer": regularizer(2, alpha=3.0)},
}


def update_in_parts(samples, first, method):
    """The same in two micro-batches; process 0 has the ``first`` samples."""
    reduction = build_reduction()
    if reduction.world_size == 2:
        samples = samples[first:] if reduction.rank else samples[:first]
    model = toy(2)
    oracle = Oracle(model, reduction, accumulate=2)
    oracle.load(samples)
    result = balancer(2, **METHODS[method]())(oracle, 0, lambda: None)
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return found | {"losses": result.losses}


def train_half(dtype, method, overflow):
    """State after four updates; in the second one a gradient of process 1 alone may overflow."""
    reduction, model = build_reduction(), toy(2, dtype=torch.float32)
    made, precision = balancer(2, **METHODS[method]()).double(), Precision(dtype)
    precision.scale = SCALE if precision.scales else 1.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    batches = [batch(B, D, S, B, B, B, seed=k, dtype=torch.float32)[reduction.rank :: 2] for k in range(4)]
    options = {"reduction": reduction, "precision": precision, "accumulate": 2, "clip_norm": 1.0}
    loop = MultiTaskLoop(model, optimizer, made, lambda start: batches, Full(made.setup, 6), **options)
    states = []
    with EventStorage():
        for loop.iter in range(4):
            hit = overflow and loop.iter == 1 and reduction.rank == 1
            handle = model.trunk[0].weight.register_hook(lambda g, hit=hit: g * float("inf") if hit else g)
            loop.run_step()
            handle.remove()
            states.append({name: value.clone() for name, value in model.state_dict().items()})
    return states, precision.skipped, precision.scale


def break_gradient(method):
    """What is said where a gradient of the semantic loss of process 1 alone is not finite."""
    reduction, model = build_reduction(), toy(2)
    made = balancer(2, **METHODS[method]())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = [batch(*(B if reduction.rank else D for _ in range(3)))]
    loop = MultiTaskLoop(model, optimizer, made, lambda start: batches, Full(made.setup, 6), reduction=reduction)
    if reduction.rank == 1:
        model.fine.weight.register_hook(lambda g: g * float("inf"))  # the semantic head's features alone
    before = [p.clone() for p in model.parameters()]
    try:
        with EventStorage():
            loop.run_step()
    except FloatingPointError as error:
        return str(error), all(map(torch.equal, before, model.parameters()))
    return "", False


JOBS = {
    **{("presence", name, s): (one_update, (batch(*x), s)) for name, x in PRESENCE.items() for s in (False, True)},
    **{("presence", "nearly parallel", x): (combine_nearly_parallel, (x,)) for x in ("all_reduce", "reduce_scatter")},
    **{
        ("presence", "shared in heads", x): (update_blocks, (batch(B, ("depth",), S, S), x))
        for x in ("all_reduce", "reduce_scatter")
    },
    **{("all pairs", p.id): (train_toy, (p.values[0], 5)) for p in covering()},
    **{("detector", name): (train_fcos, (overrides,)) for name, overrides in DETECTOR.items()},
    ("detector", "depth and normals"): (train_fcos, ([], 2, DENSE_LABELLED, 4, DENSE)),
    **{
        ("mode", name, mode): (train_toy, ([*overrides, "MTL.COMMUNICATION", mode], 5))
        for name, overrides in MODES.items()
        for mode in ("all_reduce", "reduce_scatter")
    },
    **{
        ("parts", name, m): (update_in_parts, (batch(*x), first, m))
        for name, (x, first) in PARTS.items()
        for m in METHODS
    },
    **{("bfloat16", m): (train_half, (torch.bfloat16, m, False)) for m in ("mclgs", "one backward")},
    **{("float16", m): (train_half, (torch.float16, m, True)) for m in ("mclgs", "one backward")},
    **{("broken", m): (break_gradient, (m,)) for m in ("mclgs", "one backward")},
    **{("replicas", period): (tamper, (6, period)) for period in (1, 4)},
}
TRAININGS = [key for key in JOBS if key[0] in ("all pairs", "detector", "mode")]


@pytest.fixture(scope="module")
def ranks():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (2, folder, JOBS), nprocs=2)
        return [torch.load(os.path.join(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("key", [key for key in JOBS if key[0] == "presence"], ids=lambda key: f"{key[1]}-{key[2]}")
def test_two_processes_have_the_gradients_of_one(ranks, key):
    job, arguments = JOBS[key]
    whole = job(*arguments)
    for rank in ranks:
        for name, value in whole.items():
            found = rank[key][name]
            assert (found is None) == (value is None), name
            if value is not None:
                torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("key", TRAININGS, ids=lambda key: "-".join(map(str, key)))
def test_two_processes_train_as_one(ranks, key):
    job, arguments = JOBS[key]
    whole = job(*arguments)
    for rank in ranks:
        assert_same(rank[key], whole)


def test_both_processes_end_with_the_same_bits(ranks):
    for key in TRAININGS:
        for name, value in ranks[0][key].items():
            assert name == "sent" or torch.equal(value, ranks[1][key][name]), (key, name)


@pytest.mark.parametrize("key", [key for key in JOBS if key[0] == "parts"], ids=lambda key: f"{key[1]}-{key[2]}")
def test_two_processes_in_micro_batches_make_the_update_of_one(ranks, key):
    job, arguments = JOBS[key]
    whole = job(*arguments)
    for rank in ranks:
        for name, value in whole.items():
            torch.testing.assert_close(
                rank[key][name], value, rtol=1e-10, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("key", [key for key in JOBS if key[0].endswith("float16")], ids="-".join)
def test_half_precision_keeps_replicas_equal_and_an_overflow_of_one_skips_on_both(ranks, key):
    (states, skipped, scale), other = ranks[0][key], ranks[1][key]
    for mine, theirs in zip(states, other[0], strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    overflowed = key[0] == "float16"
    assert (skipped, scale) == other[1:] == ((1, SCALE / 2) if overflowed else (0, 1.0))
    moved = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(states)]
    assert moved == [not overflowed, True, True]


def test_bytes_on_the_wire_are_those_of_the_formula(ranks):
    model, T, N, updates = toy(2), 2, 2, 5
    heads = sum(p.numel() for p in model.heads.parameters())
    shared = sum(p.numel() for p in model.parameters()) - heads
    padded = shared + shared % N
    ring = (N - 1) / N * 8 * updates  # bytes that one number costs in half an all-reduce, here float64
    small = T + N + T  # losses, which process has one that is not finite, and the number of samples of each task
    whole = ranks[0]["mode", "mclgs", "all_reduce"]["sent"]
    assert whole == {"all_reduce": 2 * ring * (T * shared + heads + small)}
    divided = ranks[0]["mode", "mclgs", "reduce_scatter"]["sent"]
    assert divided == {
        "reduce_scatter": T * ring * padded,
        "all_gather": ring * padded,
        "all_reduce": 2 * ring * (heads + small + T * T),
    }


@pytest.mark.parametrize("method", ["mclgs", "one backward"])
def test_gradient_that_is_not_finite_is_blamed_on_task_and_process(ranks, method):
    for rank, found in enumerate(ranks):
        said, unmoved = found["broken", method]
        assert "update 0: " in said
        assert "It comes from task semantic in process 1. " in said
        assert f"images of process {rank}" in said
        assert unmoved


@pytest.mark.parametrize(("period", "when"), [(1, "after update 2 "), (4, "after an update from 0 to 3 ")])
def test_replicas_that_differ_stop_every_process(ranks, period, when):
    for rank in ranks:
        assert rank["replicas", period].startswith(when)
        assert "first in fine.weight, between ranks [0] and ranks [1]" in rank["replicas", period]


def test_a_checksum_sees_one_bit_and_the_order():
    x = torch.tensor([1.0, 2.0, 0.0])
    sums = checksums([x, x.flip(0), torch.tensor([1.0, 2.0, -0.0]), x.clone()])
    assert len(set(sums.tolist())) == 3
    assert sums[0] == sums[3]


@pytest.mark.parametrize("overrides", [GRADDROP, ["MTL.STEP.NAME", "lookahead"]])
def test_methods_that_look_at_whole_gradients_refuse_parts(overrides):
    prepare(small_cfg(), overrides, 4, 2)
    with pytest.raises(ConfigError, match=r"looks at whole gradients.*set it to 'auto'"):
        prepare(small_cfg(), [*overrides, "MTL.COMMUNICATION", "reduce_scatter"], 4, 2)


@pytest.mark.slow
def test_three_processes_under_torchrun_train_as_one(tmp_path):
    worker = os.path.join(os.path.dirname(__file__), "rank_cases.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", worker]
    subprocess.run([*command, str(tmp_path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(3)]
    for name, (job, arguments) in FOUR.items():
        whole = job(*arguments)
        for rank in ranks:
            assert_same(rank[name], whole)


ONCE = [
    [key, value] for key, values in CHOICES.items() for value in values if value not in ("", "full", "joint", "all")
]


@pytest.mark.slow
def test_every_choice_on_a_detector_is_the_same_on_two_processes(tmp_path):
    jobs = {" ".join(overrides): (train_fcos, (overrides, 5)) for overrides in ONCE}
    mp.spawn(serve, (2, str(tmp_path), jobs), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    for name, (job, arguments) in jobs.items():
        for rank in ranks:
            assert_same(rank[name], job(*arguments))
