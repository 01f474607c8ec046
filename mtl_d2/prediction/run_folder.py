"""What a training left in its folder that predictions need: the config, and one of its files of weights."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode, get_cfg

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.config_checks.machine import check_device
from mtl_d2.data import register_all
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.engine.checkpoint import TAG
from mtl_d2.prediction.errors import PredictionError

CONFIG = "config.yaml"
BEST, FINAL, AVERAGED = "best", "final", "ema"
FILES = {BEST: "model_best.pth", FINAL: "model_final.pth", AVERAGED: "model_ema.pth"}


def read_run(run: str | Path, device: str | None = None) -> CfgNode:
    """The config of a run, for predictions on this machine; its data sets are registered, and need not be there.

    Args:
        run: ``OUTPUT_DIR`` of the training.
        device: as torch names it; None = the run's, or the CPU where this machine has no such device.

    Raises:
        PredictionError: there is no run in the folder, or no such device.
        ConfigError, DataError: its config is not of this release, or a file of ``MTL.DATA.MODULES`` is missing.
    """
    folder = Path(run)
    if not (folder / CONFIG).is_file():
        what = "is not there" if not folder.exists() else "is no folder" if not folder.is_dir() else f"has no {CONFIG}"
        runs = sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}")) if folder.is_dir() else []
        hint = f", such as {', '.join(runs[:3])}" if runs else ""
        raise PredictionError(f"--run {folder} {what}: name the OUTPUT_DIR of a training{hint}")
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, str(folder / CONFIG), [])
    cfg.MTL.PSEUDO_LABELS.FOLDERS = ()  # labels are for training
    cfg.MODEL.DEVICE = device or cfg.MODEL.DEVICE
    mistakes = list(check_device(cfg))
    if mistakes and device:
        raise PredictionError(mistakes[0].replace("MODEL.DEVICE", "--device"))
    cfg.MODEL.DEVICE = "cpu" if mistakes else cfg.MODEL.DEVICE
    map_classes(cfg)
    return cfg


def find_weights(run: str | Path, weights: str | Path | None = None, selected: bool = True) -> Path:
    """A file of weights.

    Args:
        run: the folder of the training.
        weights: "best", "final" or "ema" (``MTL.EMA``), the path of a file, or its name in the folder; None = the best
            where the run chose some by ``MTL.SELECT_BY``, else the final ones, else those of the newest checkpoint.
        selected: whether the run chose by ``MTL.SELECT_BY``; what an earlier run left is not taken for its best.

    Raises:
        PredictionError: there is no such file; the message names those that there are.
    """
    folder = Path(run)
    if weights is None:
        names = [*([FILES[BEST]] if selected else []), FILES[FINAL], _newest(folder)]
        chosen = [folder / name for name in names if name and (folder / name).is_file()]
    else:
        given = FILES.get(str(weights), str(weights))
        chosen = [path for path in (folder / given, Path(weights)) if path.is_file()]
    if chosen:
        return chosen[0]
    there = sorted(path.name for path in folder.glob("*.pth"))
    if not there:
        raise PredictionError(
            f"{folder} has no weights (*.pth): the training ended before its first checkpoint; go on with it by "
            "--resume, or name another run"
        )
    if weights is None:
        raise PredictionError(f"{folder} does not say which of its weights are its own: name one: {', '.join(there)}")
    why = ", which a run with MTL.SELECT_BY writes" if str(weights) == BEST else ""
    what = "is a folder" if (folder / given).is_dir() or Path(given).is_dir() else "is not there"
    raise PredictionError(f"--weights {weights}: {given} {what}{why}; {folder} has {', '.join(there)}")


def _newest(folder: Path) -> str:
    try:
        return (folder / TAG).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
