"""Accumulation over micro-batches in real trainings of a detector."""

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from running import train
from small import sample, small_model
from toy import batch, toy

from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config

pytestmark = pytest.mark.filterwarnings("ignore")
B = ("detection", "semantic")


@pytest.fixture
def parts_cfg(mclgs_cfg):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.MTL.ACCUMULATE = 2
    mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    return mclgs_cfg


CHOICES = {
    "mclgs": [],
    "one backward": ["MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "sum"],
    "losses first": ["MTL.GRADIENT.RESCALE", "", "MTL.SCALARIZATION.NAME", "famo"],
    "ista": ["MTL.ALLOCATION.NAME", "ista"],
    "lookahead": ["MTL.STEP.NAME", "lookahead"],
    "cosreg": ["MTL.REGULARIZER.NAME", "cosreg"],
    "float16": ["SOLVER.AMP.ENABLED", True],
}


@pytest.mark.parametrize("name", CHOICES)
def test_resumed_run_equals_one_that_never_stopped(parts_cfg, tmp_path, name):
    parts_cfg.merge_from_list(CHOICES[name])
    whole = train(parts_cfg, until=4)
    found = [json.loads(line) for line in Path(parts_cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    assert all(math.isfinite(value) for row in found for value in row.values())
    parts_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(parts_cfg, until=3)
    resumed = train(parts_cfg, resume=True, until=4)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


def test_padding_is_that_of_the_whole_batch():
    """Rows of a loss that is a mean over images are the same however the batch is divided, whatever its sizes."""
    found = []
    for accumulate in (1, 2):
        model = small_model("semantic").double()
        model.sem_seg_head.ce_weight = 0.0  # a mean over pixels, counted in the micro-batch; dice is one over images
        oracle = Oracle(model, accumulate=accumulate)
        oracle.load([sample("semantic", size=size, seed=i) for i, size in enumerate([(48, 64), (32, 32)])])
        with EventStorage():
            found.append(oracle.gradients().heads[0])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()  # the logits are in float32


def test_each_micro_batch_is_a_batch_to_batch_norm():
    norm = torch.nn.BatchNorm1d(6)
    oracle = Oracle(toy(2, norm), accumulate=2)
    oracle.load(batch(B, B, B, B))
    oracle.gradients()
    assert norm.num_batches_tracked == 2


def test_micro_batches_that_cannot_be_equal_are_refused(cfg):
    cfg.MTL.ACCUMULATE = 3
    with pytest.raises(ConfigError, match=r"ACCUMULATE must divide each process's share .*, 4 images, got 3"):
        check_mtl_config(cfg)
