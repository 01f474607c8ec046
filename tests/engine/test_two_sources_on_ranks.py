"""Ground truth and pseudo labels on two processes, which need not both have samples of each."""

import tempfile
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.utils.events import EventStorage
from rank_cases import MCLGS, NORMS, assert_same, in_double, prepare, serve, train
from small import small_cfg, small_model
from sync_on_cpu import sync_batch_norm_on_cpu
from taught import taught_sample, two_source_cfg
from test_two_label_sources import METHODS
from toy import balancer
from two_sources import taught_batch, taught_toy

from mtl_d2.balancing import Oracle
from mtl_d2.engine.build import build_reduction

D, S, B, N = ("detection",), ("semantic",), ("detection", "semantic"), ()
UNIONS = {  # the first process has the first two samples
    "unequal counts": [(D, B), (S, N), (B, B), (D, S), (N, S)],
    "a source on one process": [(D, N), (S, N), (D, B), (S, B)],
    "a task on one process": [(D, D), (N, D), (S, S), (N, B)],
}
SYNCHRONIZED = {"detection head": ("detection head",), "everywhere": tuple(NORMS)}


def update_toy(union, method):
    """Gradients of an update in two micro-batches."""
    reduction, samples, model = build_reduction(), taught_batch(*UNIONS[union]), taught_toy()
    if reduction.world_size == 2:
        samples = samples[2:] if reduction.rank else samples[:2]
    oracle = Oracle(model, reduction, accumulate=2)
    oracle.load(samples)
    result = balancer(2, **METHODS[method]())(oracle, 0, lambda: None)
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return found | {"losses": result.losses}


def train_detector(where=(), overrides=()):
    """Two updates of FCOS and a semantic head, with SyncBN in the parts of ``where``."""
    norms = [x for part in where for x in (NORMS[part], "SyncBN")]
    cfg = prepare(two_source_cfg(small_cfg()), [*MCLGS, *norms, *overrides], 4, 2)
    pairs = [(D, B), (S, N), (D, S), (N, S), (S, B), (D, N), (B, D), (D, N)]  # processes take turns
    samples = [taught_sample(*pair, seed=i, size=(32, 32)) for i, pair in enumerate(pairs)]
    with in_double(), EventStorage(), torch.jit.optimized_execution(False), sync_batch_norm_on_cpu():
        found = train(cfg, small_model(cfg=cfg).double(), samples, 2, {"lr": 0.01, "momentum": 0.9})
    return {name: value for name, value in found.items() if not name.endswith("tracked")}


JOBS = {
    **{("toy", union, method): (update_toy, (union, method)) for union in UNIONS for method in METHODS},
    ("detector", "fcos"): (train_detector, ()),
    ("detector", "sta"): (train_detector, ((), ["MTL.ALLOCATION.NAME", "sta"])),
    **{("detector", f"SyncBN in {name}"): (train_detector, (where,)) for name, where in SYNCHRONIZED.items()},
}


@pytest.fixture(scope="module")
def ranks():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (2, folder, JOBS), nprocs=2)
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("key", JOBS, ids="-".join)
def test_two_processes_make_the_update_of_one(ranks, key):
    job, arguments = JOBS[key]
    whole = job(*arguments)
    for rank in ranks:
        assert_same(rank[key], whole, rtol=1e-6 if "differences" in key[-1] else 1e-9)
