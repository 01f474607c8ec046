"""Which stage of a network each of its layers is in, by the tree of its modules alone.

A layer is a module that owns shared parameters. Stages are subtrees of one depth, the greatest that gives no more than
``MOST`` of them; the layers beside the subtrees, such as the convolutions of an FPN beside its trunk, are a stage of
their node. A stage of half of all layers or more is cut in ``PARTS``. No name means anything, so that the stages of a
ResNet are stem, res2 to res5 and fpn in detectron2, and conv1, layer1 to layer4 in torchvision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

MOST = 8  # stages that a depth may give
SMALL = 0.05  # of all layers, a subtree of fewer is no stage of its own
LARGE = 0.5  # of all layers, a stage of as many is cut
PARTS = 4

Path = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Layers of a network that belong together.

    Attributes:
        name: short, of no other stage.
        layers: places of its layers among those that were given, in their order.
    """

    name: str
    layers: tuple[int, ...]


def stages_of(layers: Sequence[str]) -> list[Stage]:
    """The stages of a network, in the order of their first layers; each layer is in one of them.

    Args:
        layers: dotted names of modules, each once, in the order in which they are run.
    """
    paths = [tuple(name.split(".")) for name in layers]
    sizes = Counter(path[:depth] for path in paths for depth in range(len(path) + 1))
    deepest = max(map(len, paths), default=0)
    depths = [_grouped(paths, sizes, depth) for depth in range(deepest + 1)]
    groups = next(filter(lambda groups: len(groups) <= MOST, reversed(depths)), [])
    cut: list[tuple[Path, list[int]]] = []
    for node, places in groups:
        large = len(places) >= LARGE * len(layers)
        cut += [(node, part) for part in _cut(places, paths, len(node))] if large else [(node, places)]
    whole = [_path(node, [paths[place] for place in places], sizes) for node, places in cut]
    return [Stage(name, tuple(places)) for name, (_, places) in zip(_names(whole), cut, strict=True)]


def _grouped(paths: Sequence[Path], sizes: Counter[Path], depth: int) -> list[tuple[Path, list[int]]]:
    """Places of layers, with the node that is their stage. A node's own layers before and after others are two."""
    groups: dict[tuple[Path, int], list[int]] = {}
    runs: Counter[Path] = Counter()
    last: Path = ()
    for place, path in enumerate(paths):
        length = 0
        while length < min(depth, len(path) - 1) and sizes[path[: length + 1]] >= SMALL * len(paths):
            length += 1
        node = path[:length]
        runs[node] += node != last and length < depth
        groups.setdefault((node, runs[node]), []).append(place)
        last = node
    return [(node, places) for (node, _), places in groups.items()]


def _cut(places: list[int], paths: Sequence[Path], depth: int) -> list[list[int]]:
    """Stretches of a stage, as long as can be alike, that leave the children of its node whole."""
    while len({paths[place][: depth + 1] for place in places}) == 1 and len(places) > 1:
        depth += 1
    children: dict[Path, list[int]] = {}
    for place in places:
        children.setdefault(paths[place][: depth + 1], []).append(place)
    parts: list[list[int]] = []
    before = 0
    for child in children.values():
        if not parts or before >= len(parts) * len(places) / PARTS:
            parts.append([])
        parts[-1] += child
        before += len(child)
    return parts


def _names(paths: Sequence[Path]) -> list[str]:
    """Of each as much of its path as nobody else has."""
    names = []
    for i, path in enumerate(paths):
        others = [*paths[:i], *paths[i + 1 :]]
        tails = (path[-length:] for length in range(1, len(path) + 1))
        names.append(".".join(next((tail for tail in tails if _tells(tail, others)), path)))
    return [name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]


def _tells(tail: Path, others: Sequence[Path]) -> bool:
    """Whether a name is a word, and of nobody else."""
    return not tail[0][:1].isdigit() and all(other[-len(tail) :] != tail for other in others)


def _path(node: Path, layers: Sequence[Path], sizes: Counter[Path]) -> Path:
    """That of the highest node that they are all of, else what they have in common: ``res4``, ``fpn``, ``blocks.0-8``.

    Args:
        node: that they are below, and that no name is higher than.
        layers: paths of the layers of a stage.
        sizes: numbers of layers below each node.
    """
    common = layers[0][: _alike(layers)]
    rest = list(dict.fromkeys(layer[len(common)] for layer in layers if len(layer) > len(common)))
    whole = [common[:end] for end in range(max(len(node), 1), len(common) + 1) if sizes[common[:end]] == len(layers)]
    if whole or len(rest) < 2:
        return whole[0] if whole else common
    prefix = rest[0][: _alike(rest)].rstrip("0123456789_")
    return (*common, prefix if prefix else f"{rest[0]}-{rest[-1]}")


def _alike(sequences: Sequence[Sequence[str]]) -> int:
    """How many items all of them begin with."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False)))
