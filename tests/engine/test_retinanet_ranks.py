"""RetinaNet, the EfficientNet pyramid and the dense layers on two processes: the same numbers as on one."""

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.utils.events import EventStorage
from rank_cases import MCLGS, B, D, S, assert_same, prepare, serve, sync_batch_norm_on_cpu, train
from rank_cases import in_double as losses_in_double
from small import sample, small_model
from small_retinanet import LIGHT, in_double, small_retinanet_cfg

# Images of the first process and of the second in turn: one of them has none of a task's.
LABELLED = [D, S, D, S, B, D, S, D]


def train_light(norm, overrides):
    cfg = small_retinanet_cfg(**{**LIGHT, "RETINANET.NORM": norm})
    model = cfg.MODEL
    model.BACKBONE.NAME = "build_efficientnet_bifpn_backbone"
    model.EFFICIENTNET.NAME, model.EFFICIENTNET.NORM, model.EFFICIENTNET.STOCHASTIC_DEPTH = "efficientnet_b0", norm, 0.0
    model.FPN.IN_FEATURES = ["res3", "res4"]
    model.BIFPN.LEVELS, model.BIFPN.REPEATS, model.BIFPN.FUSION, model.BIFPN.NORM = 2, 2, "sum", norm
    head = model.SEM_SEG_HEAD
    head.NAME, head.LAYERS, head.IN_FEATURES, head.COMMON_STRIDE = "SemSegMapHead", "bifpn", ["p3", "p4"], 8
    head.NORM = norm
    cfg = prepare(cfg, overrides, 4, 2)
    samples = [sample(*tasks, size=(64, 64), boxes=(i + 1) % 3, seed=i) for i, tasks in enumerate(LABELLED)]
    samples = [dict(s, position=i, tasks=tasks) for i, (s, tasks) in enumerate(zip(samples, LABELLED, strict=True))]
    with losses_in_double(), EventStorage(), sync_batch_norm_on_cpu():
        found = train(cfg, in_double(small_model(cfg=cfg)), samples, 2, {"lr": 0.01, "momentum": 0.9})
    return {name: value for name, value in found.items() if not name.endswith("tracked")}


JOBS = {"GN sum": (train_light, ("GN", [])), "SyncBN mclgs": (train_light, ("SyncBN", MCLGS))}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_train_as_one(tmp_path):
    mp.spawn(serve, (2, str(tmp_path), JOBS), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    for name, (job, arguments) in JOBS.items():
        whole = job(*arguments)
        for rank in ranks:
            assert_same(rank[name], whole)
