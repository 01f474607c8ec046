"""Networks of the tests of models, as trained ones."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modeling"))

from small import small_cfg, small_model, small_rcnn_cfg
from small_retinanet import small_retinanet_cfg

from mtl_d2.config import merge_config
from mtl_d2.prediction.network import Network
from mtl_d2.tasks.base import first_of_each
from mtl_d2.tasks.registry import kinds_of

ROOT = Path(__file__).resolve().parents[2]


def fcos_cfg():
    cfg = small_cfg("detection", "semantic", "depth")
    cfg.MODEL.DEPTH_HEAD.SCALING = "divide"
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.06
    return cfg


def rcnn_cfg():
    cfg = small_rcnn_cfg("detection", "instance", "normals")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.1
    return cfg


def retinanet_cfg():
    cfg = small_retinanet_cfg("detection", "semantic")
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.01
    return cfg


def segnet_cfg():
    cfg = small_cfg("semantic", "normals")
    merge_config(cfg, str(ROOT / "configs" / "sample_scenes_segnet.yaml"), ["MTL.TASKS", "('semantic', 'normals')"])
    return cfg


def classifier_cfg():
    cfg = small_cfg()
    merge_config(cfg, str(ROOT / "configs" / "multi_mnist_equal.yaml"), ["MODEL.DEVICE", "cpu"])
    return cfg


CONFIGS = {
    "MultiTaskFCOS": fcos_cfg,
    "MultiTaskRCNN": rcnn_cfg,
    "MultiTaskRetinaNet": retinanet_cfg,
    "MultiTaskDense": segnet_cfg,
    "MultiTaskClassifier": classifier_cfg,
}


def untrained(architecture):
    """Of random weights; what it predicts differs from place to place."""
    cfg = CONFIGS[architecture]()
    cfg.DATASETS.TEST = ()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    model = small_model(cfg=cfg, seed=1)
    for p in model.parameters():
        if p.dim() > 1 and p.std() < 0.02:  # heads that begin with the same everywhere
            torch.nn.init.normal_(p, std=0.05)
    kinds = first_of_each(kinds_of(cfg.MTL.TASKS))
    counts = {kind.task: kind.number_of_classes(cfg) for kind in kinds}
    classes = {task: [f"c{k}" for k in range(count[1])] if count else [] for task, count in counts.items()}
    return Network(cfg, model, kinds, classes)
