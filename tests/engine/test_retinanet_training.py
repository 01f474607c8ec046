"""RetinaNet and the EfficientNet pyramid in real trainings: methods, resuming, evaluation, and the report."""

import json
import sys
from pathlib import Path

import pytest
import torch
from running import rows, train
from small_retinanet import LIGHT

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import train_net

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def light_cfg(cfg):
    """EfficientNet-B0 under the BiFPN of sums, with stochastic depth, and the light heads."""
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.BACKBONE.NAME = "MultiTaskRetinaNet", "build_efficientnet_bifpn_backbone"
    model.EFFICIENTNET.NAME, model.EFFICIENTNET.NORM = "efficientnet_b0", "GN"
    model.FPN.IN_FEATURES = ["res3", "res4"]
    model.BIFPN.LEVELS, model.BIFPN.REPEATS, model.BIFPN.FUSION, model.BIFPN.OUT_CHANNELS = 2, 2, "sum", 16
    model.RETINANET.IN_FEATURES, model.RETINANET.NUM_CLASSES = ["p3", "p4"], 10
    model.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    head = model.SEM_SEG_HEAD
    head.NAME, head.LAYERS, head.IN_FEATURES, head.COMMON_STRIDE = "SemSegMapHead", "bifpn", ["p3", "p4"], 8
    cfg.merge_from_list([word for key, value in LIGHT.items() for word in (f"MODEL.{key}", value)])
    return cfg


def test_resumed_run_equals_one_that_never_stopped(light_cfg, tmp_path):
    light_cfg.MTL.GRADIENT.AGGREGATOR, light_cfg.DATASETS.TEST = "pcgrad", ()
    whole = train(light_cfg, until=3)
    light_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    light_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    train(light_cfg, until=2)
    resumed = train(light_cfg, resume=True, until=3)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    assert whole.model.loss_normalizer != 100
    assert {"loss_cls", "loss_box_reg", "loss_sem_seg", "cosine/detection_semantic"} <= {
        key for row in rows(light_cfg) for key in row
    }


def test_it_is_trained_evaluated_and_drawn(light_cfg, scenes, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    light_cfg.SOLVER.MAX_ITER, light_cfg.SOLVER.STEPS, light_cfg.SOLVER.WARMUP_ITERS = 2, (), 0
    light_cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
    file = Path(light_cfg.OUTPUT_DIR, "given.yaml")
    file.write_text(light_cfg.dump())
    results = train_net.main(train_net.parse(["--config-file", str(file)]))
    assert 0 <= results["sem_seg"]["mIoU"] <= 100
    assert "AP" in results["bbox"]
    pictures = json.loads(Path(light_cfg.OUTPUT_DIR, "pictures/index.json").read_text())
    assert pictures["failed"] == []
    assert "loss_box_reg" in Path(light_cfg.OUTPUT_DIR, "report.html").read_text()
