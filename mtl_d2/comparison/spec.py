"""The file that says what is compared, and whether it makes sense by itself; ``plan`` asks the configs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from yaml import YAMLError

from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.measures import check_delta, check_metrics, check_reference, read_metrics
from mtl_d2.comparison.search_spec import OWN, Search, read_search
from mtl_d2.comparison.source import BASE, load_source
from mtl_d2.config import MODULES, leaves
from mtl_d2.config_check import unknown
from mtl_d2.data.errors import DataError
from mtl_d2.data.modules import import_modules
from mtl_d2.evaluation.delta import CONVENTIONS, Metric

SETTINGS = ("title", "base", "output", "seeds", "overrides", "metrics", "higher_is_better", "lower_is_better", "delta")
KEYS = (*SETTINGS, "reference", "methods", "grids", "searches", "baselines", "existing")
OWN_KEYS = {"SEED": "seeds", "OUTPUT_DIR": "output"}  # what the comparison sets, and where it is told
LONGEST = 255  # letters of a folder's name
FILES = (".csv", ".html", ".md", ".tex")  # how names end that the comparison's own files have
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._+=-()[],")


@dataclass(frozen=True)
class Entry:
    """A row of the tables: one method, over all seeds.

    Attributes:
        name: unique.
        overrides: config keys and values, besides the common ones.
        baseline: whether it is a single-task run, part of the base of Delta.
        grid: the grid it is a cell of, "" for none.
        cell: the grid's keys and this cell's values.
        folders: of runs that exist already and are never started; empty for those of the comparison.
        searched: whether some of its overrides are those that a search of this name comes to.
    """

    name: str
    overrides: tuple[tuple[str, Any], ...] = ()
    baseline: bool = False
    grid: str = ""
    cell: tuple[tuple[str, Any], ...] = ()
    folders: tuple[Path, ...] = ()
    searched: bool = False

    @property
    def slug(self) -> str:
        """The name of its folder, and a part of those of files; of runs that exist already any name has one."""
        return "".join(letter if letter in ALLOWED - {" "} else "_" for letter in self.name)


@dataclass(frozen=True)
class Comparison:
    """What a comparison file says.

    Attributes:
        path: the file.
        title: heading of the page.
        base: config file that all runs start from; None if all runs exist.
        output: folder of all runs and tables.
        seeds: one run of each entry for each, >= 0.
        overrides: config keys and values of all runs.
        entries: rows in the order of the tables.
        metrics: those asked for; empty for the main ones that are found.
        directions: whether higher is better, for metrics whose name does not tell.
        delta_base: an entry's name, values by metric, or None: the baselines, else the first entry.
        conventions: of Delta.
        reference: the entry that differences are taken from; None: Delta's base if it is an entry, else the first.
        searches: those that entries are of.
    """

    path: Path
    title: str
    base: Path | None
    output: Path
    seeds: tuple[int, ...]
    overrides: tuple[tuple[str, Any], ...]
    entries: tuple[Entry, ...]
    metrics: tuple[Metric, ...]
    directions: Mapping[str, bool]
    delta_base: str | Mapping[str, float] | None
    conventions: tuple[str, ...]
    reference: str | None = None
    searches: tuple[Search, ...] = ()


def with_weights(entry: Entry, weights: Sequence[float]) -> Entry:
    """An entry of a search that has come to these weights, one for each task."""
    return replace(entry, overrides=(*entry.overrides, *zip(OWN, ("fixed", list(weights)), strict=True)))


def run_folder(comparison: Comparison, entry: Entry, seed: int) -> Path:
    """Where a run of the comparison is."""
    return comparison.output / entry.slug / str(seed)


def read_comparison(path: str | Path, output: str | None = None) -> Comparison:
    """Reads a comparison file.

    Args:
        path: the file.
        output: folder to use instead of the file's.

    Raises:
        ComparisonError: every mistake that the file shows by itself, one line each.
    """
    path = Path(path)
    raw, mistakes = load_source(path)
    mistakes += [unknown("a key of the file", key, (*KEYS, BASE)) for key in raw if key not in KEYS]
    searches = list(_searches(raw, mistakes))
    entries = [
        *(*_methods(raw, mistakes), *_grids(raw, mistakes)),
        *(Entry(search.name, search.overrides, searched=True) for search in searches),
        *(*_baselines(raw, mistakes), *_existing(raw, mistakes)),
    ]
    started = [entry for entry in entries if not entry.folders]
    mistakes += [*_names(entries), *_base(raw, path, bool(started)), *_seeds(raw, bool(started)), *_output(raw)]
    if not entries:
        mistakes.append("methods is empty; name at least one, such as `equal: {}`")
    common = tuple(_overrides(raw.get("overrides"), "overrides", mistakes))
    if started and isinstance(raw.get("base"), str):
        mistakes += _import_modules(path.parent / raw["base"], dict(common))
    higher, lower = (list(map(str, _list(raw, f"{way}_is_better", mistakes))) for way in ("higher", "lower"))
    mistakes += [
        f"{name} is in higher_is_better and in lower_is_better; take it out of one" for name in higher if name in lower
    ]
    directions = {**dict.fromkeys(higher, True), **dict.fromkeys(lower, False)}
    mistakes += check_metrics(raw.get("metrics"), directions)
    chosen = _mapping(raw, "delta", mistakes)
    names = [entry.name for entry in entries]
    mistakes += [*check_delta(chosen, names), *check_reference(raw.get("reference"), names)]
    if mistakes:
        raise ComparisonError(str(path), mistakes)
    return Comparison(
        path=path,
        title=str(raw.get("title", path.stem)),
        base=(path.parent / raw["base"]) if started else None,
        output=Path(output or raw.get("output") or f"output/{path.stem}"),
        seeds=tuple(raw.get("seeds", ())),
        overrides=common,
        entries=tuple(entries),
        metrics=read_metrics(raw.get("metrics"), directions),
        directions=directions,
        delta_base=chosen.get("base"),
        conventions=tuple(chosen.get("conventions", CONVENTIONS)),
        reference=raw.get("reference"),
        searches=tuple(searches),
    )


def _import_modules(base: Path, overrides: Mapping[str, Any]) -> Iterator[str]:
    """Executes the files that all runs name: kinds of task there say of their metrics whether higher is better."""
    try:
        named = overrides.get(MODULES) or dict(leaves(CfgNode.load_yaml_with_base(str(base), True))).get(MODULES)
        if isinstance(named, list | tuple):
            import_modules(CfgNode({"MTL": {"DATA": {"MODULES": named}}}))
    except DataError as error:
        yield str(error)
    except (OSError, ValueError, YAMLError):
        return  # which the plan of the runs says of their config


def _methods(raw: dict, mistakes: list[str]) -> Iterator[Entry]:
    for name, given in _mapping(raw, "methods", mistakes).items():
        yield Entry(str(name), tuple(_overrides(given, f"methods: {name}", mistakes)))


def _baselines(raw: dict, mistakes: list[str]) -> Iterator[Entry]:
    for name, given in _mapping(raw, "baselines", mistakes).items():
        yield Entry(str(name), tuple(_overrides(given, f"baselines: {name}", mistakes)), baseline=True)


def _grids(raw: dict, mistakes: list[str]) -> Iterator[Entry]:
    for name, grid in _mapping(raw, "grids", mistakes).items():
        values = grid.get("values") if isinstance(grid, dict) else None
        if not isinstance(values, dict) or not values or set(grid) - {"overrides", "values"}:
            mistakes.append(
                f"grids: {name} must have `values`, a list for each of one or more config keys, and may have "
                f"`overrides`; found {grid}"
            )
            continue
        wrong = [key for key, choices in values.items() if not isinstance(choices, list) or not choices]
        mistakes += [f"grids: {name}: {key} must be a list of at least one value, got {values[key]}" for key in wrong]
        common = tuple(_overrides(grid.get("overrides"), f"grids: {name}", mistakes))
        if not wrong:
            yield from _cells(str(name), common, values)


def _cells(name: str, common: tuple[tuple[str, Any], ...], values: Mapping[str, list]) -> Iterator[Entry]:
    for choice in itertools.product(*values.values()):
        cell = tuple(zip(map(str, values), choice, strict=True))
        parts = [f"{key.rpartition('.')[2]}={word(value)}" for key, value in cell]
        yield Entry(" ".join([name, *parts]), (*common, *cell), grid=name, cell=cell)


def _searches(raw: dict, mistakes: list[str]) -> Iterator[Search]:
    for name, given in _mapping(raw, "searches", mistakes).items():
        own = given.get("overrides") if isinstance(given, dict) else None
        yield read_search(str(name), given, tuple(_overrides(own, f"searches: {name}", mistakes)), mistakes)


def _existing(raw: dict, mistakes: list[str]) -> Iterator[Entry]:
    for name, folders in _mapping(raw, "existing", mistakes).items():
        listed = [folders] if isinstance(folders, str) else folders
        if not isinstance(listed, list) or not listed:
            mistakes.append(f"existing: {name} must be a run's folder or a list of them, got {folders}")
            continue
        mistakes += [f"existing: {name}: {f} is no folder" for f in listed if not Path(str(f)).is_dir()]
        yield Entry(str(name), folders=tuple(Path(str(folder)) for folder in listed))


def _names(entries: list[Entry]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.slug in seen:
            yield f"two methods are named {entry.name!r} (the folder is {entry.slug}); names must differ"
        seen[entry.slug] = entry.name
        wrong = set(entry.name) - ALLOWED or not entry.name[:1].isalnum() or len(entry.name) > LONGEST
        if not entry.folders and wrong:
            yield (
                f"the name {entry.name!r} is a folder's: it must begin with a letter or digit and have letters, "
                f"digits, spaces and ._+=-()[], only, at most {LONGEST} of them"
            )
        elif entry.slug.lower().endswith(FILES):
            yield f"the name {entry.name!r} is a folder's: it may not end in {', '.join(FILES)}, as pages and tables do"


def _base(raw: dict, path: Path, needed: bool) -> Iterator[str]:
    base = raw.get("base")
    if not needed:
        return
    if not isinstance(base, str):
        yield f"base must be the config file that all runs start from, relative to {path.name}; got {base}"
    elif not (path.parent / base).is_file():
        yield f"base is {base}, but there is no file {path.parent / base}"


def _output(raw: dict) -> Iterator[str]:
    output = raw.get("output")
    if output is not None and not isinstance(output, str):
        yield f"output must be a folder, got {output}"


def _seeds(raw: dict, needed: bool) -> Iterator[str]:
    seeds = raw.get("seeds")
    if not isinstance(seeds, list) or not seeds:
        if needed or seeds is not None:
            yield f"seeds must be a list of at least one whole number, such as [1, 2, 3]; got {seeds}"
        return
    yield from (f"seeds must be whole numbers >= 0, got {s!r}" for s in seeds if type(s) is not int or s < 0)
    for seed in dict.fromkeys(s for s in seeds if type(s) is int and seeds.count(s) > 1):
        yield f"seeds has {seed} twice; the same run twice is no second sample"


def _overrides(given: Any, where: str, mistakes: list[str]) -> Iterator[tuple[str, Any]]:
    """Key and value pairs of a mapping, nested or with dots, or of a list KEY, VALUE, ..."""
    if isinstance(given, list) and len(given) % 2 == 0:
        given = dict(zip(map(str, given[::2]), given[1::2], strict=True))
    if given is None:
        return
    if not isinstance(given, dict):
        mistakes.append(f"{where} must be a mapping of config keys to values or a list KEY, VALUE, ...; got {given}")
        return
    for key, value in leaves(given):
        if key in OWN_KEYS:
            mistakes.append(f"{where} sets {key}, which the comparison sets by itself; use `{OWN_KEYS[key]}`")
        yield key, value


def _mapping(raw: dict, key: str, mistakes: list[str]) -> dict:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not value:
        mistakes.append(f"{key} must be a mapping of at least one name, got {value}")
        return {}
    return value


def _list(raw: dict, key: str, mistakes: list[str]) -> list:
    value = raw.get(key, [])
    if not isinstance(value, list):
        mistakes.append(f"{key} must be a list, got {value}")
        return []
    return value


def word(value: Any) -> str:
    """A value as one word of a command line, as detectron2's ``KEY VALUE`` takes it."""
    return value if isinstance(value, str) else repr(value)
