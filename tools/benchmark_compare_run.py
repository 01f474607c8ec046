"""The run that ``benchmark_compare.py`` has trained: it writes what a run writes, and sleeps."""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
import time
from pathlib import Path

TASKS = ("detection", "semantic")
LOSSES = ("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr", "loss_sem_seg", "total_loss")
OTHERS = ("lr", "time", "data_time", "rank_data_time", "eta_seconds", "gradient_norm", "consecutive_updates")


def row(update: int, draw: random.Random) -> dict[str, float]:
    """What is logged of an update."""
    falling = 1 / math.sqrt(update + 1)
    numbers = {name: falling + 0.1 * draw.random() for name in (*LOSSES, *OTHERS)}
    numbers |= {f"{kind}/{task}": draw.random() for kind in ("weight", "loss", "norm", "share") for task in TASKS}
    return {"iteration": update, "cosine/detection_semantic": draw.uniform(-1, 1), **numbers}


def main(config: Path, seconds: float, rows: int, updates: int) -> None:
    """Writes config, log and results beside ``config``, within so many seconds."""
    folder = config.parent
    draw = random.Random("/".join(folder.parts[-2:]))  # method and seed
    shutil.copyfile(config, folder / "config.yaml")
    with (folder / "metrics.json").open("w", encoding="utf-8") as log:
        for i in range(1, rows + 1):
            time.sleep(seconds / rows)
            log.write(json.dumps(row(i * updates // rows - 1, draw)) + "\n")
            log.flush()
    results = {"bbox": {name: 50 * draw.random() for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")}}
    results["sem_seg"] = {name: 50 * draw.random() for name in ("mIoU", "fwIoU", "mACC", "pACC")}
    (folder / "results.json").write_text(json.dumps({"own": results}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
