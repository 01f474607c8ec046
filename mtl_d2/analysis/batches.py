"""The batches of a run that its checkpoints are analyzed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from detectron2.config import CfgNode
from detectron2.utils.env import seed_all_rng

from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.data import build_train_loader
from mtl_d2.data.holdout import register_held_out
from mtl_d2.engine.build import build_allocation

TRAIN, VALIDATION = "train", "validation"


@dataclass
class Batches:
    """The same batches each time they are gone through.

    Attributes:
        datasets: that they are of.
        count: how many there are.
    """

    datasets: tuple[str, ...]
    count: int
    _cfg: CfgNode
    _loader: Iterable[list[dict]]

    def __iter__(self) -> Iterator[list[dict]]:
        allocation = build_allocation(self._cfg)
        return islice(allocation(self._loader), self.count)


def batches_of(cfg: CfgNode, split: str, count: int) -> Batches:
    """The first batches of the run's stream, augmented and allocated as its updates see them.

    Those of "validation" are of the images held out by ``MTL.DATA.VALIDATION_SHARE``, else of ``DATASETS.TEST``, and
    otherwise as those of training, so that all that differs is whether the network has learnt from the images. There
    are no more than one pass over the images gives: batches of the same images say nothing new.

    Args:
        cfg: of the run.
        split: "train" or "validation".
        count: how many batches are wanted, >= 1.

    Raises:
        AnalysisError: there are no validation images.
        DataError: the data sets cannot be read.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if split == VALIDATION:
        cfg.DATASETS.TRAIN = _validation_sets(cfg)
        cfg.MTL.DATA.VALIDATION_SHARE, cfg.MTL.PSEUDO_LABELS.FOLDERS = 0.0, ()
        for key in ("PER_DATASET", "WEIGHTS"):
            if len(cfg.MTL.DATA[key]) != len(cfg.DATASETS.TRAIN):
                cfg.MTL.DATA[key] = ()
    if cfg.SEED < 0:
        seed_all_rng(0)  # the loader then draws its seed, and is to draw the same each time
    loader = build_train_loader(cfg)
    allocation = build_allocation(cfg)
    images = len(loader.dataset)  # type: ignore[attr-defined]  # a DataLoader
    most = max(images // cfg.SOLVER.IMS_PER_BATCH, 1) * allocation.uses
    return Batches(tuple(cfg.DATASETS.TRAIN), min(count, most), cfg, loader)


def _validation_sets(cfg: CfgNode) -> tuple[str, ...]:
    if cfg.MTL.DATA.VALIDATION_SHARE > 0:
        return register_held_out(cfg)
    if not cfg.DATASETS.TEST:
        raise AnalysisError(
            "--split validation: the run has no validation images, as MTL.DATA.VALIDATION_SHARE is 0 and DATASETS.TEST "
            "is empty: take --split train"
        )
    return tuple(cfg.DATASETS.TEST)
