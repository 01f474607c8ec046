"""Copies of large maps that an ONNX graph makes for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np


def spare_copies(model: Any) -> None:
    """Leaves out what only moves numbers; the results are the same to the bit.

    A loop over a batch of one image splits it into one part, which onnxruntime copies. Maps that are enlarged by a
    constant factor it computes in blocks of 16 channels and puts in order afterwards, at the large size; enlarged to a
    computed size, they are put in order before.

    Args:
        model: an ``onnx.ModelProto``, which is changed.
    """
    graph = model.graph
    for node in graph.node:
        if node.op_type == "Split" and len(node.output) == 1:
            node.op_type = "Identity"
            del node.input[1:]
            del node.attribute[:]
    _enlarge_to_sizes(graph)


def _enlarge_to_sizes(graph: Any) -> None:
    """Has each ``Resize`` by constant whole factors take the size of its result instead."""
    from onnx import helper, numpy_helper

    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    changed = []
    for node in graph.node:
        factors = constants.get(node.input[2]) if node.op_type == "Resize" and len(node.input) == 3 else None
        if factors is not None and (factors == factors.round()).all():
            shape, size, name = (f"{node.output[0]}/{part}" for part in ("shape", "size", "factors"))
            graph.initializer.append(numpy_helper.from_array(factors.astype(np.int64), name))
            changed.append(helper.make_node("Shape", [node.input[0]], [shape]))
            changed.append(helper.make_node("Mul", [shape, name], [size]))
            node.input[2] = ""
            node.input.append(size)
        changed.append(node)
    copied = [type(node).FromString(node.SerializeToString()) for node in changed]
    del graph.node[:]
    graph.node.extend(copied)
