"""What has to hold on a GPU; all of it is skipped without one."""

import pytest
import torch
import torch.distributed as dist
from detectron2.utils.events import EventStorage
from running import train
from small import sample, small_cfg, small_model, small_rcnn_cfg
from taught import taught_sample, two_source_cfg

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.rows import gramian
from mtl_d2.engine.speed import speed_up
from mtl_d2.parallel.all_ranks import AllRanks

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore"),
]
BOTH = ("detection", "semantic")


def exact_gradients(model, samples, **options):
    oracle = Oracle(model, **options)
    oracle.load(samples)
    with EventStorage(), torch.jit.optimized_execution(False):
        found = oracle.gradients()
    return found.losses, [[None if g is None else g.cpu() for g in row] for row in (*found.rows, *found.heads)]


def rcnn():
    return small_model(cfg=small_rcnn_cfg("detection", "instance"))


def two_sources():
    return small_model(cfg=two_source_cfg(small_cfg()))


def recomputing():
    cfg = small_cfg()
    cfg.MTL.RECOMPUTE = True
    model = small_model(cfg=cfg)
    speed_up(model, cfg)
    return model


def samples_of(*tasks):
    return [sample(*tasks, seed=i, size=(64, 96) if i else (48, 80)) for i in range(3)]


def partly_annotated(*tasks):
    """Objects of class 1 are not annotated in one image."""
    one, *others = samples_of(*tasks)
    instances, known = one["instances"], torch.tensor([True, False, True, True])
    return [one | {"instances": instances[instances.gt_classes != 1], "annotated_classes": known}, *others]


def taught():
    sources = [(BOTH, ("detection",)), (("semantic",), BOTH), (("detection",), ())]
    return [taught_sample(*pair, seed=i) for i, pair in enumerate(sources)]


CASES = {
    "fcos": (small_model, lambda: samples_of(*BOTH)),
    "rcnn": (rcnn, lambda: samples_of("detection", "instance")),
    "two sources of labels": (two_sources, taught),
    "classes not annotated": (small_model, lambda: partly_annotated(*BOTH)),
    "classes not annotated, rcnn": (rcnn, lambda: partly_annotated("detection", "instance")),
    "recomputed": (recomputing, lambda: samples_of(*BOTH)),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_cpu(case):
    build, make = CASES[case]
    samples = make()
    losses, rows = exact_gradients(build().double(), samples)
    there, found = exact_gradients(build().double().cuda(), samples)
    torch.testing.assert_close(there, losses, rtol=1e-6, atol=0)
    for own, expected in zip(found, rows, strict=True):
        for one, other in zip(own, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert (one - other).norm() <= 1e-6 * other.norm() + 1e-12


def test_gramian_is_that_of_float64():
    generator = torch.Generator().manual_seed(0)
    rows = [[torch.randn(n, generator=generator) for n in (5, 4096, 100_003)] for _ in range(3)]
    exact = gramian([[t.double() for t in row] for row in rows])
    found = gramian([[t.cuda() for t in row] for row in rows]).cpu()
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6 * exact.diagonal().max().item())


@pytest.fixture
def cuda_cfg(mclgs_cfg):
    mclgs_cfg.MODEL.DEVICE = "cuda"
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.MAX_ITER, mclgs_cfg.SOLVER.STEPS, mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 4, (), 2
    return mclgs_cfg


@pytest.mark.parametrize("dtype", ["", "float16", "bfloat16"])
def test_training_goes_on_after_a_stop(cuda_cfg, dtype):
    cuda_cfg.SOLVER.AMP.ENABLED = bool(dtype)
    cuda_cfg.MTL.AMP_DTYPE = dtype or "float16"
    train(cuda_cfg, until=2)
    resumed = train(cuda_cfg, resume=True)
    assert resumed.iter == 4
    assert all(value.isfinite().all() for value in resumed.model.state_dict().values())


def test_resumed_training_is_bit_equal_with_deterministic_algorithms(cuda_cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = cuda_cfg.clone()
        whole.OUTPUT_DIR = str(tmp_path / "whole")
        expected = train(whole).model.state_dict()
        train(cuda_cfg, until=2)
        found = train(cuda_cfg, resume=True).model.state_dict()
    finally:
        torch.use_deterministic_algorithms(False)
    different = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    assert not different


@pytest.mark.parametrize("communication", ["all_reduce", "reduce_scatter"])
def test_nccl_with_one_process_gives_the_gradients_of_none(communication, tmp_path):
    samples = [sample(*BOTH, seed=i) for i in range(2)]
    losses, rows = exact_gradients(small_model().double().cuda(), samples)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        there, found = exact_gradients(small_model().double().cuda(), samples, reduction=AllRanks(communication))
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(there, losses)
    for own, expected in zip(found, rows, strict=True):
        for one, other in zip(own, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
