"""All checkpoints of a training, on training and validation images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from mtl_d2.analysis.batches import Batches, batches_of
from mtl_d2.analysis.checkpoints import Checkpoint
from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.analysis.result import Analysis, analyze
from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.engine.build import method_name
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.speed import speed_up
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.run_folder import CONFIG, read_run


@dataclass(frozen=True)
class Moment:
    """What was found at one time of a training.

    Attributes:
        checkpoint: whose weights.
        split: "train" or "validation".
        analysis: of the model with these weights, on batches of this split.
    """

    checkpoint: Checkpoint
    split: str
    analysis: Analysis


@dataclass
class RunAnalysis:
    """What was found of a training so far.

    Attributes:
        run: its folder.
        method: its own of balancing, which acts after the gradients that are analyzed.
        images: a batch has.
        datasets: by split, what the batches were of.
        moments: in the order of training, by split within a checkpoint.
        failures: a line for each checkpoint and split that nothing could be said of.
    """

    run: str
    method: str
    images: int
    datasets: dict[str, tuple[str, ...]]
    moments: list[Moment] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def of(self, split: str) -> list[Moment]:
        """The moments of a split."""
        return [moment for moment in self.moments if moment.split == split]


def read_config(run: Path, device: str | None = None) -> CfgNode:
    """The config of a run, with its pseudo labels, which the network was trained on too.

    Raises:
        AnalysisError: there is no run in the folder, or it has one task.
        ConfigError, DataError: its config is not of this release.
    """
    try:
        cfg = read_run(run, device)
    except PredictionError as error:
        raise AnalysisError(str(error)) from error
    stored = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    cfg.MTL.PSEUDO_LABELS.FOLDERS = tuple(stored["MTL"].get("PSEUDO_LABELS", {}).get("FOLDERS", ()))
    cfg.MTL.COMPILE = False  # compiling takes longer than a few batches
    if len(cfg.MTL.TASKS) < 2:
        raise AnalysisError(
            f"{run} was trained on one task, {', '.join(cfg.MTL.TASKS)}: there are no two gradients to compare"
        )
    cfg.freeze()
    return cfg


def analyze_run(
    cfg: CfgNode,
    run: Path,
    checkpoints: Sequence[Checkpoint],
    splits: Sequence[str],
    count: int,
    told: Callable[[str, int, int], None] = lambda what, number, of: None,
) -> Iterator[RunAnalysis]:
    """Analyzes each checkpoint on each split, and gives what is known so far after each of them.

    Nothing in the folder of the run is changed.

    Args:
        cfg: ``read_config`` of it.
        run: its folder.
        checkpoints: which.
        splits: some of "train" and "validation".
        count: batches of each, >= 1.
        told: is called after each batch with what it is of, its number and how many there are.

    Raises:
        AnalysisError, ConfigError, DataError: the data or the model cannot be had.
        CheckpointError: all that was asked for is one checkpoint, and it is of another network.
    """
    batches = {split: batches_of(cfg, split, count) for split in splits}
    model = MultiTaskTrainer.build_model(cfg)
    speed_up(model, cfg)
    datasets = {split: of.datasets for split, of in batches.items()}
    known = RunAnalysis(str(run), method_name(cfg), cfg.SOLVER.IMS_PER_BATCH, datasets)
    for checkpoint in checkpoints:
        try:
            _load(model, cfg, checkpoint)
        except CheckpointError as error:
            known.failures.append(f"{checkpoint.path}: {error}")
            continue
        for split, of in batches.items():
            _add(known, model, cfg, checkpoint, split, of, told)
            yield known
    if not known.moments:
        raise AnalysisError(known.failures[0] if known.failures else f"{run} has no checkpoint")


def _load(model: Any, cfg: CfgNode, checkpoint: Checkpoint) -> None:
    weights = MultiTaskCheckpointer(model)
    weights.logger = logging.getLogger(__name__)  # detectron2's says what it reads, which the progress does already
    weights.classes = trained_classes(cfg)
    weights.load_to_evaluate(str(checkpoint.path), resume=False)


def _add(
    known: RunAnalysis,
    model: Any,
    cfg: CfgNode,
    checkpoint: Checkpoint,
    split: str,
    batches: Batches,
    told: Callable[[str, int, int], None],
) -> None:
    what = f"{checkpoint.path.name}, {split}"
    try:
        analysis = analyze(
            model,
            batches,
            accumulate=cfg.MTL.ACCUMULATE,
            seed=max(cfg.SEED, 0),
            told=lambda number: told(what, number, batches.count),
        )
    except AnalysisError as error:
        known.failures.append(f"{what}: {error}")
    else:
        known.moments.append(Moment(checkpoint, split, analysis))
