"""Comparisons and runs that never happened."""

from __future__ import annotations

import json
import math
from pathlib import Path

import yaml

from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.spec import Comparison, Entry, read_comparison
from mtl_d2.comparison.state import Outcome, write_outcome

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
UPDATES = 4


def write_file(folder: Path, **changes) -> Path:
    """A comparison file of two methods and two seeds; a change of None takes a key out."""
    content = {
        "base": str(CONFIGS / "sample_scenes_equal.yaml"),
        "output": str(folder / "out"),
        "seeds": [1, 2],
        "methods": {"equal": {}, "mclgs": {"MTL.GRADIENT": {"RESCALE": "mclgs", "AGGREGATOR": "mean"}}},
        **changes,
    }
    path = folder / "comparison_file.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    return path


def made_up_comparison(folder: Path, **changes) -> Comparison:
    return read_comparison(write_file(folder, **changes))


def planned(folder: Path, name: str = "equal", seed: int = 1, updates: int = UPDATES) -> PlannedRun:
    config = yaml.safe_dump({"SEED": seed, "SOLVER": {"MAX_ITER": updates}, "OUTPUT_DIR": str(folder)})
    return PlannedRun(Entry(name), seed, folder / name / str(seed), config, updates, on_gpu=False)


def write_run(
    folder: Path,
    metrics: dict[str, dict[str, float | None]] | None = None,
    outcome: Outcome | None = None,
    loss: float = 1.0,
    parameters: int | None = None,
) -> Path:
    """A run's files, with ``UPDATES`` updates, a cosine and weights."""
    folder.mkdir(parents=True)
    rows = [
        {
            "iteration": i, "total_loss": loss / (i + 1), "time": 0.5, "weight/b": loss,
            "cosine/a_b": 0.1 * i, "cosine_level/a_b": -0.2 * i,
        }
        for i in range(UPDATES)
    ]  # fmt: skip
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(yaml.safe_dump({"SEED": 3, "SOLVER": {"MAX_ITER": UPDATES}}))
    if metrics is not None:
        size = {} if parameters is None else {"parameters": parameters}
        (folder / "results.json").write_text(json.dumps({"own": metrics, "constant": {"bbox": {"AP": 99.0}}, **size}))
    if outcome is not None:
        write_outcome(folder, outcome)
    return folder


def scores(ap: float, iou: float) -> dict[str, dict[str, float | None]]:
    return {"bbox": {"AP": None if math.isnan(ap) else ap, "AP-car": 1.0}, "sem_seg": {"mIoU": iou}}
