"""Whether the keys that are declared with a range are within it."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode

from mtl_d2.options import declared, wrong_values


def check_options(cfg: CfgNode) -> Iterator[str]:
    """A line for each value that the declaration of its key does not take."""
    for path, options in declared():
        node = cfg
        for name in path.split("."):
            node = node.get(name, {})
        yield from wrong_values(options, node, f"{path}.")
