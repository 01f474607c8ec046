"""Evaluators by what a data set's metadata says of its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, SemSegEvaluator
from detectron2.utils import comm

from mtl_d2.evaluation.classification import ClassificationEvaluator


def build_evaluator(cfg: Any, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluators:
    """detectron2's evaluators of one test set.

    Args:
        cfg: of the run.
        dataset_name: its metadata's ``evaluator_type`` is "coco" (boxes), "sem_seg" or "classification".
        output_folder: for predictions; by default ``OUTPUT_DIR/inference/<dataset_name>``.

    Raises:
        ValueError: the evaluator type is another.
    """
    folder = Path(output_folder or Path(cfg.OUTPUT_DIR, "inference", dataset_name))
    folder.mkdir(parents=True, exist_ok=True)
    metadata = MetadataCatalog.get(dataset_name)
    kind = metadata.get("evaluator_type")
    if kind == "coco":
        # A data set without a COCO file is converted, once in a process; detectron2 would trust the copy that an
        # earlier process left there, whatever has changed since.
        if comm.is_main_process() and "json_file" not in metadata.as_dict():
            (folder / f"{dataset_name}_coco_format.json").unlink(missing_ok=True)
        comm.synchronize()
        return DatasetEvaluators([COCOEvaluator(dataset_name, ("bbox",), output_dir=str(folder))])
    if kind == "sem_seg":
        return DatasetEvaluators([SemSegEvaluator(dataset_name, output_dir=str(folder))])
    if kind == "classification":
        return DatasetEvaluators([ClassificationEvaluator(cfg.MTL.TASKS)])
    raise ValueError(
        f"data set {dataset_name!r} has evaluator_type {kind!r}, which is none of 'coco', 'sem_seg', "
        f"'classification'; set it with MetadataCatalog.get({dataset_name!r}).set(evaluator_type=...)"
    )
