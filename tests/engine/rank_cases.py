"""What a process of a group runs; with one process, what the group is compared with."""

import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "modeling"), str(TESTS / "balancing")]

from unittest import mock  # noqa: E402

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from detectron2.modeling.meta_arch import fcos  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402
from fvcore.nn import sigmoid_focal_loss  # noqa: E402
from small import sample, small_cfg, small_model  # noqa: E402
from sync_on_cpu import sync_batch_norm_on_cpu  # noqa: E402
from test_combinations import NEEDED, REASONS  # noqa: E402
from test_near_parallel import Given, drawn  # noqa: E402
from torch.nn import functional  # noqa: E402
from toy import balancer, batch, stage, toy  # noqa: E402

from mtl_d2.balancing import Oracle  # noqa: E402
from mtl_d2.config import ConfigError  # noqa: E402
from mtl_d2.config_check import check_mtl_config  # noqa: E402
from mtl_d2.engine.build import (  # noqa: E402
    build_allocation,
    build_balancer,
    build_reduction,
)
from mtl_d2.engine.consecutive import ConsecutiveUpdates  # noqa: E402
from mtl_d2.engine.launch import leave_groups  # noqa: E402

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
MCLGS = ["MTL.GRADIENT.RESCALE", "mclgs", "MTL.GRADIENT.AGGREGATOR", "mean", "MTL.GRADIENT.MCLGS.A0", 1.0]
LABELLED = [B, D, B, S, B, B, B, D, S, D, B, B]  # two mini-batches of 4 or 6


def prepare(cfg, overrides, batch_size, updates):
    cfg.DATASETS.TRAIN = ("any",)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SEED = batch_size, updates, 7
    cfg.merge_from_list([*NEEDED, *overrides])
    check_mtl_config(cfg)
    return cfg


def train(cfg, model, samples, updates, optimizer_options):
    """Numbers of all updates, and the parameters after them; ``samples`` are those of two global mini-batches."""
    size = cfg.SOLVER.IMS_PER_BATCH
    reduction = build_reduction(cfg.MTL.COMMUNICATION)
    if cfg.MTL.COMMUNICATION == "auto":
        reduction._divides = True  # as on NCCL
    rank = dist.get_rank() if dist.is_initialized() else 0
    shares = [samples[start + rank : start + size : reduction.world_size] for start in (0, size)]
    balancer, batches = build_balancer(cfg).double(), build_allocation(cfg)(iter(shares * updates))
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], **optimizer_options)
    oracle = Oracle(model, reduction)
    consecutive = ConsecutiveUpdates(oracle.shared, balancer.logs_angles)
    found = {}

    def apply():
        found.update({f"{update} {name}": torch.tensor(value) for name, value in consecutive(update).items()})
        optimizer.step()

    for update in range(updates):
        oracle.load(next(batches), update)
        result = balancer(oracle, update, apply)
        found |= {f"{update} losses": result.losses, f"{update} weights": result.weights.shared}
        found |= {f"{update} gramian": result.gramian} if result.gramian is not None else {}
    found |= {name: value.detach().clone() for name, value in model.state_dict().items()}
    found |= {f"balancer.{name}": value.detach().clone() for name, value in balancer.state_dict().items()}
    found["sent"] = dict(reduction.collectives.sent) if reduction.world_size > 1 else {}
    return found


def train_toy(overrides, updates=2, labelled=LABELLED, batch_size=4):
    """The toy model; None if the combination is refused."""
    cfg = small_cfg()
    try:
        prepare(cfg, overrides, batch_size, updates)
    except ConfigError as refusal:
        if any(reason in str(refusal) for reason in REASONS):
            return None
        raise
    samples = [dict(s, position=i) for i, s in enumerate(batch(*labelled))]
    return train(cfg, toy(2), samples, updates, {"lr": 0.01})


def combine_nearly_parallel(mode):
    """A direction whose weights are large and opposite: ConFIG's of two gradients that differ by a thousandth."""
    model = Given(drawn(1e-3))
    oracle = Oracle(model, build_reduction(mode))
    oracle.load([{}])
    balancer(3, stage(3, "config"))(oracle, 0, lambda: None)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def in_double():
    """FCOS's focal and centerness losses work in float32 whatever they get; compared are sums to 1e-10."""
    entropy = functional.binary_cross_entropy_with_logits
    with (
        mock.patch.object(torch.Tensor, "float", lambda x: x if x.dtype == torch.float64 else x.to(torch.float32)),
        mock.patch.object(fcos, "sigmoid_focal_loss_jit", sigmoid_focal_loss),
        mock.patch.object(
            functional, "binary_cross_entropy_with_logits", lambda x, y, **options: entropy(x, y.to(x), **options)
        ),
    ):
        yield


DENSE = ("detection", "semantic", "depth", "normals")
# Of two processes the first has none of a task's samples, or the second.
DENSE_LABELLED = [DENSE, S, ("depth", "normals"), D, ("depth",), S, ("depth",), ("normals",)]


def train_fcos(overrides, updates=2, labelled=LABELLED, batch_size=4, tasks=B):
    """FCOS with further heads on images of different sizes, one of them without boxes."""
    cfg = prepare(small_cfg(*tasks), [*MCLGS, *overrides], batch_size, updates)
    samples = [
        sample(*tasks, size=(32 + 16 * (i % 3), 64 - 16 * (i % 2)), boxes=(i + 1) % 4, seed=i)
        for i, tasks in enumerate(labelled)
    ]
    samples = [dict(s, position=i, tasks=tasks) for i, (s, tasks) in enumerate(zip(samples, labelled, strict=True))]
    with in_double(), EventStorage(), torch.jit.optimized_execution(False):
        return train(cfg, small_model(cfg=cfg).double(), samples, updates, {"lr": 0.01, "momentum": 0.9})


NORMS = {
    "trunk": "MODEL.TIMM.NORM",
    "pyramid": "MODEL.FPN.NORM",
    "detection head": "MODEL.FCOS.NORM",
    "semantic head": "MODEL.SEM_SEG_HEAD.NORM",
}


def train_synchronized(where, overrides, labelled, batch_size=4, norm="SyncBN"):
    """FCOS and a semantic head with SyncBN in the parts of ``where``, on images of one size."""
    norms = [x for part in where for x in (NORMS[part], norm)]
    cfg = prepare(small_cfg(), [*norms, *overrides], batch_size, 2)
    samples = [sample(*tasks, size=(32, 32), boxes=(i + 1) % 3, seed=i) for i, tasks in enumerate(labelled)]
    samples = [dict(s, position=i, tasks=tasks) for i, (s, tasks) in enumerate(zip(samples, labelled, strict=True))]
    with in_double(), EventStorage(), torch.jit.optimized_execution(False), sync_batch_norm_on_cpu():
        found = train(cfg, small_model(cfg=cfg).double(), samples, 2, {"lr": 0.01, "momentum": 0.9})
    if norm == "naiveSyncBN_N":  # its running variance is biased, and it has no count
        return {name: value for name, value in found.items() if not name.endswith(("running_var", "tracked"))}
    return {name: value for name, value in found.items() if not name.endswith("tracked")}


def assert_same(found, expected, rtol=1e-10):
    """All numbers of one process, up to rounding; a gradient's own scale is that of its tensor."""
    assert found.keys() == expected.keys()
    for key in [key for key in expected if key != "sent"]:
        one, other = found[key].double(), expected[key].double()
        atol = 1e-12 * max(1.0, float(other.abs().max())) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, msg=lambda m, key=key: f"{key}: {m}")


def join(rank, world_size, rendezvous):
    """Makes this process one of a group, as detectron2's launch does."""
    from detectron2.utils import comm

    torch.set_num_threads(1)
    limit = timedelta(minutes=2)  # of processes that wait for each other in vain
    dist.init_process_group("gloo", f"file://{rendezvous}", limit, world_size, rank)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(world_size)


def serve(rank, world_size, folder, jobs):
    """Runs ``jobs`` ((function, arguments) by name) in one group and leaves the results in ``folder``."""
    join(rank, world_size, os.path.join(folder, "rendezvous"))
    torch.save({name: job(*arguments) for name, (job, arguments) in jobs.items()}, os.path.join(folder, f"{rank}.pt"))
    leave_groups()


FOUR = {
    "mclgs": (train_toy, (MCLGS, 5, LABELLED, 6)),
    "sta and pcgrad": (
        train_toy,
        (["MTL.ALLOCATION.NAME", "sta", "MTL.GRADIENT.AGGREGATOR", "pcgrad"], 5, LABELLED, 6),
    ),
    "graddrop, split": (
        train_toy,
        (["MTL.GRADIENT.AGGREGATOR", "graddrop", "MTL.STEP.NAME", "split"], 5, LABELLED, 6),
    ),
    "fcos": (train_fcos, ([], 2, LABELLED, 6)),
}

if __name__ == "__main__":  # under torchrun
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {name: job(*arguments) for name, (job, arguments) in FOUR.items()}
    torch.save(found, os.path.join(sys.argv[1], f"{dist.get_rank()}.pt"))
    leave_groups()
