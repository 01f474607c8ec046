"""The text of a comparison file, with that of the files it is based on."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from mtl_d2.comparison.errors import ComparisonError

MERGE = "tag:yaml.org,2002:merge"  # of the key "<<", with which a mapping takes another one's keys
BASE = "_BASE_"  # another comparison file, as in detectron2's configs


class _UniqueKeys(yaml.SafeLoader):
    """Notes keys that a mapping has twice, which YAML loaders drop without a word."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """The mapping."""
        given = [key for key, _ in node.value if key.tag != MERGE]
        keys = [self.construct_object(key, deep=True) for key in given]
        self.twice += [
            f"{key!r} is there twice (line {key_node.start_mark.line + 1}); names must differ"
            for i, (key, key_node) in enumerate(zip(keys, given, strict=True))
            if key in keys[:i]
        ]
        return super().construct_mapping(node, deep)


def load_source(path: Path, needed_by: tuple[Path, ...] = ()) -> tuple[dict, list[str]]:
    """What the file says, over what the file that its ``_BASE_`` names says, and keys that are there twice.

    Mappings are merged name by name, down to the config keys of a method; everything else is replaced. ``base`` comes
    out relative to ``path``'s folder, whichever file it is from.

    Args:
        path: the file.
        needed_by: the files that are based on it.

    Raises:
        ComparisonError: a file cannot be read, is no mapping, or is based on itself.
    """
    raw, twice = _load(path)
    parent = raw.pop(BASE, None)
    if parent is None:
        return raw, twice
    chain = (*needed_by, path)
    if not isinstance(parent, str) or not (path.parent / parent).is_file():
        rule = f"{BASE} must be another comparison file, relative to {path.name}; got {parent}"
        raise ComparisonError(str(path), [rule])
    if any((path.parent / parent).samefile(file) for file in chain):
        raise ComparisonError(str(path), [f"{BASE} is {parent}, which is based on {path.name} itself"])
    below, more = load_source(path.parent / parent, chain)
    if isinstance(below.get("base"), str):
        below["base"] = os.path.relpath((path.parent / parent).parent / below["base"], path.parent)
    return _merged(below, raw), [*more, *twice]


def _load(path: Path) -> tuple[dict, list[str]]:
    try:
        loader = _UniqueKeys(path.read_text(encoding="utf-8"))
        raw = loader.get_single_data()
    except OSError as error:
        raise ComparisonError(str(path), [f"the file cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ComparisonError(str(path), [f"it is no YAML: {error}"]) from error
    if not isinstance(raw, dict):
        raise ComparisonError(str(path), [f"it must be a mapping of names to values; found {type(raw).__name__}"])
    return raw, loader.twice


def _merged(below: dict, above: dict) -> dict:
    merged = dict(below)
    for key, value in above.items():
        value_below = merged.get(key)
        merged[key] = (
            _merged(value_below, value) if isinstance(value_below, dict) and isinstance(value, dict) else value
        )
    return merged
