"""The config of VOC + NYU with its own network, on a few images in the layouts of both."""

import json
import math
import sys
from pathlib import Path

import pytest
from running import rows
from tiny_nyu_depth import write_tiny_nyu_depth
from tiny_voc import write_tiny_voc

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import train_net  # noqa: E402

SMALL = {
    "MODEL.DEVICE": "cpu", "MODEL.WEIGHTS": "", "SOLVER.AMP.ENABLED": False, "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 4, "SOLVER.MAX_ITER": 2, "SOLVER.STEPS": "()", "SOLVER.WARMUP_ITERS": 0,
    "INPUT.AUGMENTATIONS": "['ResizeScale(1.0, 1.0, 96, 96)', 'RandomApply(ScaleJitter(0.75, 1.5), 0.5)', "
    "'FixedSizeCrop((96, 96))', 'RandomFlip()', 'PhotometricDistortion()']",
    "INPUT.MIN_SIZE_TEST": 96, "INPUT.MAX_SIZE_TEST": 96,
    "MTL.DATA.VALIDATION_SHARE": 0.3, "TEST.EVAL_PERIOD": 1, "MTL.LOG_PERIOD": 1,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_makes_two_updates_and_is_evaluated_with_the_papers_metrics(tmp_path, monkeypatch):
    write_tiny_voc(tmp_path)
    write_tiny_nyu_depth(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    words = [str(word) for pair in (SMALL | {"OUTPUT_DIR": tmp_path / "output"}).items() for word in pair]
    arguments = train_net.parse(["--config-file", str(ROOT / "configs/voc_nyu_achievement.yaml"), *words])
    results = train_net.main(arguments)
    groups = {group.split("/")[-1] for group in results}
    assert {"sem_seg", "depth"} <= groups, results
    assert json.loads((tmp_path / "output/pictures/index.json").read_text())["failed"] == []
    cfg = train_net.prepare(arguments)
    logged = [
        value for row in rows(cfg) for key, value in row.items() if key.startswith(("task_loss/", "coefficient/"))
    ]
    assert len(logged) >= 4
    assert all(map(math.isfinite, logged))
