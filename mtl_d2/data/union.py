"""How several training sets become one stream: ``MTL.DATA.SAMPLING`` and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from detectron2.config import CfgNode

from mtl_d2.data.mixture import WeightedMixture, of_sizes
from mtl_d2.data.repeat import repeat_factors
from mtl_d2.data.sampler import FixedShares, Order, RepeatedStream, ShuffledStream, Stream, Union
from mtl_d2.options import choice, declare, number, several

UNION, SHARES, WEIGHTS = "union", "shares", "weights"

declare(
    "MTL.DATA",
    {
        "SAMPLING": choice(
            "auto",
            "how samples are drawn from several data sets of DATASETS.TRAIN: `union` is one shuffled pass an epoch "
            "over all of them, `shares` puts PER_DATASET of each into every batch, `weights` draws each sample's data "
            "set by WEIGHTS; `auto` is `shares` where PER_DATASET is given, else `union`. See docs/unions.md",
            ("auto", UNION, SHARES, WEIGHTS),
        ),
        "WEIGHTS": several(
            "with SAMPLING `weights`: of each data set, how often it is drawn, up to a factor; none = by their sizes "
            "and TEMPERATURE",
            number(None, "", above=0),
        ),
        "TEMPERATURE": number(
            1.0,
            "with SAMPLING `weights` and no WEIGHTS: data sets are drawn in proportion to size^(1 / TEMPERATURE), 1 by "
            "their sizes, the higher the more evenly",
            above=0,
        ),
    },
)

Records = Sequence[dict[str, Any]]


def sampling(cfg: CfgNode) -> str:
    """Which of the three it is."""
    chosen = cfg.MTL.DATA.SAMPLING
    return chosen if chosen != "auto" else SHARES if cfg.MTL.DATA.PER_DATASET else UNION


def check_sampling(cfg: CfgNode) -> Iterator[str]:
    """A line for each value that another one leaves without a meaning, or that does not fit the data sets."""
    data, names, chosen = cfg.MTL.DATA, tuple(cfg.DATASETS.TRAIN), sampling(cfg)
    if chosen == SHARES and not data.PER_DATASET:
        yield "MTL.DATA.SAMPLING 'shares' takes MTL.DATA.PER_DATASET, which is empty: say how many of each a batch has"
    for key, given, of in (
        ("PER_DATASET", data.PER_DATASET, SHARES),
        ("WEIGHTS", data.WEIGHTS, WEIGHTS),
        ("TEMPERATURE", data.TEMPERATURE != 1, WEIGHTS),
    ):
        if given and chosen != of:
            yield (
                f"MTL.DATA.{key} {data[key]} says something with MTL.DATA.SAMPLING {of!r} only, found "
                f"{data.SAMPLING!r}: set it to {of!r}, or leave {key} out"
            )
    if data.WEIGHTS and data.TEMPERATURE != 1:
        yield f"MTL.DATA.TEMPERATURE {data.TEMPERATURE} is of sizes, but MTL.DATA.WEIGHTS are given: leave one out"
    if data.WEIGHTS and len(data.WEIGHTS) != len(names):
        yield f"MTL.DATA.WEIGHTS needs one number for each of DATASETS.TRAIN {names}, got {tuple(data.WEIGHTS)}"


def training_order(cfg: CfgNode, sets: Sequence[Records], seed: int) -> Order:
    """The order of the records of all data sets; in streams of their own, their classes count on their own, too."""
    sizes, chosen = [len(records) for records in sets], sampling(cfg)
    if chosen == UNION:
        return Union(_stream(cfg, list(chain.from_iterable(sets)), seed), len(sets))
    streams = [_stream(cfg, records, seed, i) for i, records in enumerate(sets)]
    if chosen == SHARES:
        return FixedShares(streams, sizes, cfg.MTL.DATA.PER_DATASET)
    return WeightedMixture(streams, sizes, cfg.MTL.DATA.WEIGHTS or of_sizes(sizes, cfg.MTL.DATA.TEMPERATURE), seed)


def _stream(cfg: CfgNode, records: Records, *key: int) -> Stream:
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        return ShuffledStream(len(records), *key)
    return RepeatedStream(repeat_factors(records, cfg.DATALOADER), *key)


def lengths(cfg: CfgNode, sets: Sequence[Records], order: Order) -> Iterator[str]:
    """Of each data set, how long an epoch is, and how many the training has."""
    per_update, updates = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER
    whole = order.epochs(updates * per_update)
    for name, records, epochs in zip(cfg.DATASETS.TRAIN, sets, whole, strict=True):
        if records and not epochs:
            yield f"{name}: none of its {len(records)} images is drawn in the {updates} updates of SOLVER.MAX_ITER"
        elif records:
            yield (
                f"{name}: {len(records)} images; one epoch of it takes {updates / epochs:.4g} updates, and the "
                f"{updates} of SOLVER.MAX_ITER are {epochs:.4g}"
            )
