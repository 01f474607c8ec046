"""SegNet's unpooling in ONNX, of which torch's exporter knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

OPERATOR = "aten::max_unpool2d"


@contextmanager
def unpooling(opset: int) -> Iterator[None]:
    """Within it, ``torch.onnx.export`` at ``opset`` knows what ``max_unpool2d`` is."""
    torch.onnx.register_custom_op_symbolic(OPERATOR, _scattered, opset)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(OPERATOR, opset)


def _scattered(graph: Any, values: Any, places: Any, size: Any) -> Any:
    """The values at their places in planes of zeros.

    Args:
        graph: that is made.
        values: (N, C, h, w).
        places: (N, C, h, w) in the planes, row by row.
        size: list of height and width of the planes.
    """

    def constant(*numbers: int) -> Any:
        return graph.op("Constant", value_t=torch.tensor(numbers))

    sides = [graph.op("Reshape", side, constant(1)) for side in torch.onnx.symbolic_helper._unpack_list(size)]
    shape = graph.op("Concat", graph.op("Slice", graph.op("Shape", values), constant(0), constant(2)), *sides, axis_i=0)
    planes = graph.op("Concat", constant(0, 0), graph.op("Mul", *sides), axis_i=0)  # 0 = as it was
    zeros = graph.op("ConstantOfShape", shape, value_t=torch.zeros(1))
    flat = [graph.op("Reshape", zeros, planes), *(graph.op("Reshape", x, constant(0, 0, -1)) for x in (places, values))]
    return graph.op("Reshape", graph.op("ScatterElements", *flat, axis_i=2), shape)
