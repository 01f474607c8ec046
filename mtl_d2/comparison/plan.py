"""From a comparison to runs with whole configs, all of which have been checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures and heads
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.spec import OWN_KEYS, Comparison, Entry, run_folder, word
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, check_data, register_all
from mtl_d2.data.prepared import relevant


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Attributes:
        entry: the row it belongs to.
        seed: its ``SEED``.
        folder: its ``OUTPUT_DIR``.
        config: the whole config as YAML, which is also what a folder is compared with.
        updates: ``SOLVER.MAX_ITER``, or how far it goes of them for now.
        on_gpu: whether it wants a GPU.
        arguments: of its command line, besides the config file.
    """

    entry: Entry
    seed: int
    folder: Path
    config: str
    updates: int
    on_gpu: bool
    arguments: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.entry.name}, seed {self.seed}"


def plan_runs(
    comparison: Comparison, extra: Sequence[str] = (), checked: dict[str, list[str]] | None = None
) -> list[PlannedRun]:
    """All runs but those of searches, seeds first: the first seed of every method is done before the second of any.

    Args:
        comparison: as read from its file.
        extra: ``KEY VALUE`` words for all runs, after the file's common overrides and before each method's own.
        checked: mistakes in data that was looked at already, by what says which data; gets those of what is here.

    Raises:
        ComparisonError: every mistake in the configs and the data, with the methods that have it.
    """
    register_all()
    configs: dict[str, CfgNode] = {}
    mistakes: dict[str, list[str]] = {}  # the line -> the methods it concerns
    checked = {} if checked is None else checked
    started = [entry for entry in comparison.entries if not entry.folders and not entry.searched]
    for entry in started:
        try:
            configs[entry.name] = cfg = entry_config(comparison, entry, extra)
            lines = config_mistakes(cfg, checked)
        except ConfigError as error:
            lines = lines_of(error)
        for line in lines:
            mistakes.setdefault(line, []).append(entry.name)
    own = [
        f"KEY VALUE sets {key}, which the comparison sets by itself; use `{OWN_KEYS[key]}` of its file"
        for key in extra[::2]
        if key in OWN_KEYS
    ]
    if own or mistakes:
        everywhere = "all methods"
        of_methods = [
            f"{', '.join(of) if len(of) < len(started) else everywhere}: {line}" for line, of in mistakes.items()
        ]
        raise ComparisonError(str(comparison.path), [*own, *of_methods])
    return [
        planned_run(entry, seed, run_folder(comparison, entry, seed), configs[entry.name])
        for seed in comparison.seeds
        for entry in started
    ]


def entry_config(comparison: Comparison, entry: Entry, extra: Sequence[str] = ()) -> CfgNode:
    """The whole config of an entry's runs, but for seed and folder; it is not checked yet.

    Raises:
        ConfigError: it has keys or values that a config cannot have.
    """
    cfg = get_cfg()
    add_mtl_config(cfg)
    common = [text for key, value in comparison.overrides for text in (key, word(value))]
    changed = [text for key, value in entry.overrides for text in (key, word(value))]
    merge_config(cfg, str(comparison.base), [*common, *extra, *changed], allow_unsafe=True)
    return cfg


def config_mistakes(cfg: CfgNode, checked: dict[str, list[str]]) -> list[str]:
    """A line for each mistake in a config and its data.

    Args:
        cfg: the config.
        checked: see ``plan_runs``.
    """
    try:
        check_mtl_config(cfg)
    except ConfigError as error:
        return lines_of(error)
    return _once(checked, cfg)


def lines_of(error: ConfigError) -> list[str]:
    """The mistakes that an error lists."""
    return [line.removeprefix("  - ") for line in str(error).splitlines() if not line.endswith("mistakes:")]


def _once(checked: dict[str, list[str]], cfg: CfgNode) -> list[str]:
    """Mistakes in the data, which are looked at once for all methods that have the same."""
    key = relevant(cfg).decode()
    if key not in checked:
        checked[key] = []
        try:
            check_data(cfg)
        except DataError as error:
            checked[key] = str(error).splitlines()
    return checked[key]


def planned_run(entry: Entry, seed: int, folder: Path, cfg: Any) -> PlannedRun:
    """A run by an entry's config.

    Args:
        entry: the row.
        seed: of the run.
        folder: of the run.
        cfg: but for both.
    """
    config = cfg.clone()
    config.SEED, config.OUTPUT_DIR = seed, str(folder)
    on_gpu = not config.MODEL.DEVICE.startswith("cpu")
    return PlannedRun(entry, seed, folder, config.dump(), config.SOLVER.MAX_ITER, on_gpu)
