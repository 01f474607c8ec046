"""Whose definition a metric follows, for tables in which two of them stand."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_d2.evaluation.tools import evaluator_type
from mtl_d2.tasks.registry import kinds_of


def definition(tasks: Sequence[str], dataset_name: str, group: str) -> str:
    """What the metrics of a group are on a data set, and whose tool says so; "" where only one definition is in use.

    Args:
        tasks: of the run.
        dataset_name: in detectron2's catalog.
        group: of metrics, such as ``bbox``.
    """
    kinds, kind_of_set = kinds_of(tasks), evaluator_type(dataset_name)
    besides = {tool.group: tool.definition for kind in kinds for tool in kind.tools(kind_of_set) if tool.group}
    return next((kind.definition(dataset_name) for kind in kinds if kind.group == group), besides.get(group, ""))
