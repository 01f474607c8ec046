"""How the classes of data sets are mapped to those of the run: what may be meant otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from detectron2.data.catalog import Metadata

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.class_mapping import NODES, SYNONYMS, MappedReader, config_key

NEAR = 0.85  # of names that may be misspelt, as difflib measures it: "buss" and "bus" are, "cat" and "car" are not


def wrong_synonyms(reader: MappedReader) -> Iterator[str]:
    """Synonyms that cannot be followed.

    One for a name that is no class of the run is none of them: the class is not sought, as any that the run lacks.
    """
    synonyms: Any = reader.metadata.get(SYNONYMS) or {}
    if not isinstance(synonyms, Mapping) or not all(isinstance(n, str) for pair in synonyms.items() for n in pair):
        yield f"`{SYNONYMS}` in its metadata must be a dict from its names to the run's, got {synonyms!r}"
        return
    own, known = _names(_lists(reader).values()), _names(reader.lists.values())
    for name, meant in synonyms.items():
        said = f"`{SYNONYMS}` in its metadata has {meant!r} for {name!r}"
        near = synonyms.get(meant) or _near(meant, known)
        if name not in own and name in known and meant in own:
            yield f"{said}: its own name comes first, turn them round"
        elif name in own and name not in known and meant not in known and near:
            yield f"{said}, which is no class of MTL.DATA.CLASSES; did you mean {near!r}?"


def doubtful_names(reader: MappedReader) -> Iterator[str]:
    """Classes that the run does not seek, though it has one of nearly that name which the data set lacks."""
    synonyms, all_names = reader.synonyms(), _names(_all_lists(reader.metadata))
    for key, own in _lists(reader).items():
        ids, names = reader.maps()[key].ids, reader.lists[key]
        lacking = {_bare(name): name for i, name in enumerate(names) if i not in ids}
        for name in (name for name, i in zip(own, ids, strict=True) if i < 0 and _bare(name) in lacking):
            yield (
                f"its class {name!r} is none of MTL.DATA.CLASSES.{config_key(key)} and not sought, and it is not "
                f"annotated for {lacking[_bare(name)]!r}: if they are the same, say so by `{SYNONYMS}` in its metadata"
            )
        for name in synonyms.keys() - set(all_names) - set(names):
            near = _near(name, [n for n, i in zip(own, ids, strict=True) if i < 0])
            if near:
                yield f"`{SYNONYMS}` in its metadata names {name!r}, none of its classes; did you mean {near!r}?"


def mapping_lines(reader: MappedReader) -> Iterator[str]:
    """How its lists are mapped, a line each."""
    for key, own in _lists(reader).items():
        ids, names = reader.maps()[key].ids, reader.lists[key]
        renamed = [f"{n!r} as {names[i]!r}" for n, i in zip(own, ids, strict=True) if i >= 0 and n != names[i]]
        unsought = [repr(n) for n, i in zip(own, ids, strict=True) if i < 0]
        lacking = [repr(n) for i, n in enumerate(names) if i not in ids]
        parts = [f"{len(own) - len(unsought)} of its {len(own)} `{key}` are of MTL.DATA.CLASSES.{config_key(key)}"]
        parts += [f"{the_first(renamed)}"] if renamed else []
        parts += [f"not sought: {the_first(unsought)}"] if unsought else []
        parts += [f"not annotated for: {the_first(lacking)}"] if lacking else []
        yield "; ".join(parts)


def _lists(reader: MappedReader) -> dict[str, list[str]]:
    """Its own, by the key of metadata, of those that are mapped."""
    return {key: list(map(str, reader.metadata.get(key))) for key in reader.maps()}


def _all_lists(metadata: Metadata) -> list[Sequence[str]]:
    return [value for key, value in metadata.as_dict().items() if str(key).partition("/")[0] in NODES and value]


def _names(lists: Iterable[Sequence[str]]) -> list[str]:
    return [name for names in lists for name in names]


def _near(name: str, known: Sequence[str]) -> str | None:
    """The one of ``known`` that is misspelt as ``name``."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return near[0] if near else None


def _bare(name: str) -> str:
    """A name without what two lists often write differently: case, spaces and signs, the "s" at the end."""
    return "".join(letter for letter in name.casefold() if letter.isalnum()).rstrip("s")
