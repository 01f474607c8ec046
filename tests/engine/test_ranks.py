"""Two processes against one, on the same global batch."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mtl_d2.balancing import Oracle

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "balancing"))
from toy import balancer, batch, mclgs, scalarization, stage, toy

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
CASES = {
    "both tasks everywhere": [B, B, B, B],
    "one task on each rank": [D, D, S, S],
    "unequal counts": [D, S, D, D],
    "a task absent everywhere": [D, D, D, D],
    "a rank without labels": [(), (), D, S],
    "a rank without samples": [D, B],
}


def gradients(samples, scaling, reduction=None):
    model = toy(2)
    oracle = Oracle(model, reduction)
    oracle.load(samples)
    built = stage(2, "mean", mclgs(2, a0=0.7) if scaling else None)
    result = balancer(2, built, scalarization(2, weights=(1.7, 0.3)))(oracle, 0, lambda: None)
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()} | {
        "losses": result.losses, "gramian": result.gramian, "weights": result.weights.shared
    }  # fmt: skip


def worker(rank, rendezvous, folder):
    from detectron2.utils import comm

    from mtl_d2.engine.reduce import AllRanks

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    found = {
        (name, scaling): gradients(batch(*sets)[2 * rank : 2 * rank + 2], scaling, AllRanks())
        for name, sets in CASES.items()
        for scaling in (False, True)
    }
    torch.save(found, os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(worker, (os.path.join(folder, "rendezvous"), folder), nprocs=2)
        return [torch.load(os.path.join(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("scaling", [False, True], ids=["one backward", "per task"])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(ranks, name, scaling):
    whole = gradients(batch(*CASES[name]), scaling)
    for rank in ranks:
        for key, value in whole.items():
            found = rank[name, scaling][key]
            assert (found is None) == (value is None), key
            if value is not None:
                torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-13, msg=lambda m, key=key: f"{key}: {m}")
