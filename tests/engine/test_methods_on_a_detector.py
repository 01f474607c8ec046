"""Each value of each choice once, in a real training of FCOS with a semantic head."""

import json
import math
from pathlib import Path

import pytest
import torch

from mtl_d2.balancing.registry import AGGREGATORS, REGULARIZERS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.engine import MultiTaskTrainer

load_methods()
pytestmark = pytest.mark.filterwarnings("ignore")
NEEDED = {
    "dtp": ["MTL.SCALARIZATION.DTP.SOURCE", "training"],
    "gap": ["MTL.ALLOCATION.GAP.N", 2],
}
CHOICES = [
    *(["MTL.ALLOCATION.NAME", name] for name, _ in ALLOCATIONS),
    *(["MTL.SCALARIZATION.NAME", name] for name in WEIGHTINGS.names() if name != "achievement"),
    *(["MTL.GRADIENT.AGGREGATOR", name] for name in AGGREGATORS.names() if name != "pivrg"),
    *(["MTL.REGULARIZER.NAME", name] for name in REGULARIZERS.names()),
    *(["MTL.STEP.NAME", name] for name in STEPS.names()),
    ["MTL.GRADIENT.LEVEL", "features"],
    ["MTL.GRADIENT.LEVEL", "last_layer"],
    ["MTL.SCALARIZATION.MEAN", "geometric"],
    ["MTL.SCALARIZATION.MEAN", "log"],
    ["MTL.GRADIENT.RESCALE", "unit"],
    ["MTL.REGULARIZER.NAME", "cosreg", "MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD", "finite"],
]


@pytest.mark.parametrize("overrides", CHOICES, ids=lambda o: "-".join(map(str, o[1::2])))
def test_trains(mclgs_cfg, overrides):
    cfg = mclgs_cfg
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.MAX_ITER = 3
    cfg.MTL.GRADIENT.MCLGS.A0 = 1.0
    cfg.merge_from_list([*overrides, *NEEDED.get(overrides[1], [])])
    torch.manual_seed(0)
    trainer = MultiTaskTrainer(cfg)
    before = [p.clone() for p in trainer.model.parameters()]
    trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before, trainer.model.parameters(), strict=True))
    rows = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    assert all(math.isfinite(value) for row in rows for value in row.values())
