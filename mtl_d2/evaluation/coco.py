"""AP of boxes and masks as pycocotools counts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.utils import comm


def coco_evaluator(name: str, kinds: Sequence[str], folder: Path) -> DatasetEvaluator:
    """Pycocotools' numbers: detectron2's faster implementation is not the official one.

    Args:
        name: of the test set.
        kinds: of ``bbox`` and ``segm``.
        folder: for predictions and what else is written.
    """
    # A data set without a COCO file is converted, once in a process; detectron2 would trust the copy that an
    # earlier process left there, whatever has changed since.
    if comm.is_main_process() and "json_file" not in MetadataCatalog.get(name).as_dict():
        (folder / f"{name}_coco_format.json").unlink(missing_ok=True)
    comm.synchronize()
    return COCOEvaluator(name, tuple(kinds), output_dir=str(folder), use_fast_impl=False)
