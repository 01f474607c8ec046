"""A run that has learnt nothing, of all tasks, as a training leaves it."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

sys.path.insert(0, str(Path(__file__).parent))

from small_inputs import THINGS, write_clip

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.data import register_all
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.prediction.network import load

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["MODEL.FPN.OUT_CHANNELS", "16", "INPUT.MIN_SIZE_TEST", "48", "MODEL.ROI_BOX_HEAD.FC_DIM", "32"]
SMALL += [word for head in ("SEM_SEG", "DEPTH", "NORMALS") for word in (f"MODEL.{head}_HEAD.CONVS_DIM", "32")]
SMALL += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("run")
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, str(REPOSITORY / "configs" / "sample_scenes_five_tasks.yaml"), [*SMALL, "MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    model = MultiTaskTrainer.build_model(cfg)
    torch.save({"model": model.state_dict(), "classes": {"thing_classes": THINGS}}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture(scope="package")
def network(run):
    return load(run, score_threshold=0.0)


@pytest.fixture(scope="package")
def image():
    """(60, 101, 3) RGB."""
    small = np.random.default_rng(0).integers(0, 256, (6, 10, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (101, 60), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture
def folder(tmp_path, image):
    """Two images, of which one is in a folder of its own."""
    (tmp_path / "images" / "inner").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "images" / "inner" / "b.png"), image[..., ::-1])
    return tmp_path / "images"


@pytest.fixture
def clip(tmp_path, image):
    """Five frames, 12.5 a second."""
    return write_clip(tmp_path / "clip.avi", image, 5)
