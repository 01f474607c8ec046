"""What a file of a network says about itself, so that a program without this package can use it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode

from mtl_d2 import __version__
from mtl_d2.data.image_library import OPENCV
from mtl_d2.export.network import FIELDS
from mtl_d2.tasks.base import TaskKind

KEY = "mtl_d2"  # of an ONNX file's metadata, and name of the extra file in a TorchScript archive
FORMAT = 1


def description(
    cfg: CfgNode,
    kinds: Sequence[TaskKind],
    classes: Mapping[str, Sequence[str]],
    names: Sequence[str],
    *,
    ids: Collection[str],
    stored_size: bool,
    shape: tuple[int, int, int] | None,
) -> dict[str, Any]:
    """See docs/export.md.

    Args:
        cfg: of the run.
        kinds: the tasks, one for each prediction.
        classes: their names, by task.
        names: of the outputs.
        ids: keys of maps that are class ids.
        stored_size: whether the second input is the size that predictions have.
        shape: of the only images that it takes; None = of any size.
    """
    outputs = {
        kind.task: [name for name in names if name == kind.sample_key or name.startswith(f"{kind.sample_key}/")]
        for kind in kinds
    }
    return {
        "format": FORMAT,
        "version": __version__,
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "weights": cfg.MODEL.WEIGHTS,
        "image": {
            "channels": cfg.INPUT.FORMAT if len(cfg.MODEL.PIXEL_MEAN) == 3 else "L",
            "shape": list(shape) if shape else None,
            "resize": resizing(cfg),
        },
        "size": stored_size,
        "tasks": [
            {
                "task": kind.task,
                "kind": kind.name,
                "outputs": [name for name in outputs[kind.task] if not _of_another(name, kind, kinds)],
                "classes": list(classes.get(kind.task, ())),
                "ids": kind.sample_key in ids,
            }
            for kind in kinds
        ],
    }


def _of_another(name: str, kind: TaskKind, kinds: Sequence[TaskKind]) -> bool:
    """Whether an output that begins like a prediction of ``kind`` is that of "semantic/lane" beside "semantic"."""
    field = name.removeprefix(f"{kind.sample_key}/")
    return field != name and field not in FIELDS.values() and any(name == other.sample_key for other in kinds)


def resizing(cfg: CfgNode) -> dict[str, Any]:
    """How test images of the run become those that the network sees."""
    filtering = "linear" if cfg.INPUT.IMAGE_LIBRARY_TEST == OPENCV else "pillow"
    if cfg.INPUT.TEST_SIZE:
        return {"height": cfg.INPUT.TEST_SIZE[0], "width": cfg.INPUT.TEST_SIZE[1], "filter": filtering}
    return {"shortest": cfg.INPUT.MIN_SIZE_TEST, "longest": cfg.INPUT.MAX_SIZE_TEST, "filter": filtering}


def as_text(described: Mapping[str, Any]) -> str:
    """JSON."""
    return json.dumps(described)
