"""Options that are declared with the values they take: of heads, trunks and models."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode

from mtl_d2.options import declared, wrong_values
from mtl_d2.tasks.options import node_of, option_key, task_options
from mtl_d2.tasks.registry import is_known, kinds_of


def check_declared(cfg: CfgNode) -> Iterator[str]:
    """A line for each option that has a value it does not take; those of a task's head are asked for each task."""
    kinds = kinds_of(filter(is_known, cfg.MTL.TASKS))
    for path, options in declared():
        if not any(kind.options == path for kind in kinds):
            yield from wrong_values(options, node_of(cfg, path), f"{path}.")
        for kind in kinds:
            if kind.options == path:
                for name, option in options.items():
                    prefix = option_key(cfg, kind, name).removesuffix(name)
                    yield from wrong_values({name: option}, task_options(cfg, kind), prefix)
