"""Files of a run that never happened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "MODEL": {
        "META_ARCHITECTURE": "MultiTaskFCOS",
        "DEVICE": "cpu",
        "WEIGHTS": "",
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
    },
    "MTL": {
        "TASKS": ["detection", "semantic"],
        "ALLOCATION": {"NAME": "full"},
        "SCALARIZATION": {"NAME": "fixed"},
        "GRADIENT": {"RESCALE": "mclgs", "AGGREGATOR": "mean", "MCLGS": {"A0": 120.0, "R_T": 2.0, "PACING": "linear"}},
        "STEP": {"NAME": "joint"},
    },
    "SOLVER": {
        "MAX_ITER": 300,
        "IMS_PER_BATCH": 8,
        "BASE_LR": 0.01,
        "STEPS": [200, 260],
        "WARMUP_ITERS": 50,
        "MOMENTUM": 0.9,
        "WEIGHT_DECAY": 1e-4,
    },
    "DATASETS": {"TRAIN": ["sample_det_train", "sample_sem_seg_train"], "TEST": ["sample_det_val"]},
    "SEED": 7,
}
RESULTS: dict[str, Any] = {
    "own_row": "MCLGS",
    "untrained": {"bbox": {"AP": 0.0, "AP50": 0.01, "AP-car": 0.0}, "sem_seg": {"mIoU": 2.3, "IoU-road": 11.0}},
    "constant": {"bbox": {"AP": None, "AP50": None, "AP-car": None}, "sem_seg": {"mIoU": 9.4, "IoU-road": 55.5}},
    "MCLGS": {
        "bbox": {"AP": 25.13, "AP50": 46.8, "AP75": 24.9, "AP-car": 41.27, "AP-person": math.nan},
        "sem_seg": {"mIoU": 55.42, "fwIoU": 78.0, "IoU-road": 91.3, "IoU-sky": 95.0},
    },
}


def rows(updates: int, seed: int = 0) -> list[dict[str, float]]:
    """What a MCLGS run of two tasks logs, one row an update; every fifth update has no cosine."""
    random = np.random.default_rng(seed)
    made = []
    for t in range(updates):
        cosine = float(np.clip(random.normal(0.02 * t / updates, 0.02), -1, 1))
        pacing = 120 * (1 - t / (2 * updates))
        weight = math.tanh(cosine * pacing) + 1
        detection, semantic = 2.2 * math.exp(-t / 90) + 0.9, 1.4 * math.exp(-t / 60) + 0.4
        noise = random.normal(0, 0.06, 6)
        row = {
            "iteration": t,
            "loss_fcos_cls": 0.5 * detection + noise[0],
            "loss_fcos_loc": 0.3 * detection + noise[1] / 2,
            "loss_fcos_ctr": 0.6 + noise[2] / 10,
            "loss_sem_seg_ce": 0.6 * semantic + noise[3] / 3,
            "loss_sem_seg_dice": 0.4 * semantic + noise[4] / 3,
            "task_loss/detection": detection + noise[0],
            "task_loss/semantic": semantic + noise[3],
            "total_loss": detection + semantic + noise[0] + noise[3],
            "grad_norm/detection": 3 * detection + noise[5],
            "grad_norm/semantic": 2 * semantic + noise[1],
            "grad_norm/update": 2 * detection + noise[5],
            "pacing": pacing,
            "cosine_defined": float(t % 5 != 4),
            "lr": 0.01 * min(1, (t + 1) / 50) * (0.1 if t >= 200 else 1),
            "time": 1.2 + abs(noise[2]),
            "data_time": 0.04 + abs(noise[4]) / 5,
            "eta_seconds": 1.2 * (updates - t),
        }
        if t % 5 != 4:
            row |= {"cosine/detection_semantic": cosine, "weight/detection": weight, "weight/semantic": weight}
        if (t + 1) % 100 == 0:
            share = (t + 1) / updates
            row |= {"bbox/AP": 25.13 * share, "bbox/AP50": 46.8 * share, "bbox/AP-car": 41.27 * share}
            row |= {"sem_seg/mIoU": 55.42 * share**0.5, "sem_seg/IoU-road": 91.3 * share**0.2}
        made.append(row)
    return made


def loss_rows(updates: int) -> list[dict[str, float]]:
    """A log of the total loss alone, whose page has one chart: charts are what takes the time of a page."""
    return [{"iteration": t, "total_loss": 1 / (t + 1)} for t in range(updates)]
