"""Cityscapes' instance AP and semantic IoU, by its own scripts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from PIL import Image

from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES
from mtl_d2.data.datasets.cityscapes import IMAGE, INSTANCE_IDS, LABEL_IDS, SEMANTIC_IDS, THINGS
from mtl_d2.data.errors import DataError

TAIL = 2000  # characters of a failed process's output that are shown


def require_scripts(dataset_name: str) -> None:
    """Says how to install what evaluates a data set.

    Raises:
        DataError: cityscapesscripts is not installed.
    """
    if find_spec("cityscapesscripts") is None:
        raise DataError(
            f"{dataset_name}: Cityscapes' own scripts, which evaluate it, are not installed: "
            "`pip install cityscapesscripts`, or leave the data set out of DATASETS.TEST"
        )


class CityscapesEvaluator(DatasetEvaluator):
    """Writes every process's predictions into one folder; the first process has them evaluated and removes them.

    Results are detectron2's groups: ``segm`` (AP, AP50) for the task instance and ``sem_seg`` (mIoU, and what else the
    scripts say) for the task semantic, in percent. Only the images that were predicted are evaluated.
    """

    def __init__(self, dataset_name: str, tasks: Sequence[str], folder: Path) -> None:
        """Reads nothing yet.

        Args:
            dataset_name: its metadata's ``gt_dir`` is ``.../gtFine/SPLIT``.
            tasks: of ``instance`` and ``semantic``.
            folder: below it everything is written; all processes see the same one.
        """
        self._truth = Path(MetadataCatalog.get(dataset_name).gt_dir).resolve()
        writers = {"instance": self._write_instances, "semantic": self._write_semantic}
        self._writers: dict[str, Callable[[Any, Path], str]] = {task: writers[task] for task in tasks}
        self._folder = folder.resolve() / "cityscapes"
        self._pairs: dict[str, list[tuple[str, str]]] = {}

    def reset(self) -> None:
        """Leaves an empty folder for all processes."""
        self._pairs = {task: [] for task in self._writers}
        if comm.is_main_process():
            shutil.rmtree(self._folder, ignore_errors=True)
            for task in self._writers:
                (self._folder / task).mkdir(parents=True)
        comm.synchronize()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Writes the predictions of some images, beside the names of their ground truth."""
        endings = {"instance": INSTANCE_IDS, "semantic": SEMANTIC_IDS}
        for given, output in zip(inputs, outputs, strict=True):
            image = Path(given["file_name"])
            stem = image.name.removesuffix(IMAGE)
            for task, write in self._writers.items():
                written = write(output, self._folder / task / stem)
                truth = self._truth / image.parent.name / (stem + endings[task])
                self._pairs[task].append((written, str(truth)))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """The groups of metrics on the first process, None on the others.

        Raises:
            RuntimeError: the scripts failed; the message has what they said last.
        """
        parts = comm.gather(self._pairs, dst=0)  # all files are written when it returns
        if not comm.is_main_process():
            return None
        job = {task: sorted(set(chain.from_iterable(part[task] for part in parts))) for task in self._writers}
        (self._folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", f"{__package__}.cityscapes_process", "job.json", "results.json"]
        found_here = {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
        done = subprocess.run(
            command, cwd=self._folder, env=os.environ | found_here, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-TAIL:]
            raise RuntimeError(f"Cityscapes' evaluation of {self._folder} failed; the last that it said: {said}")
        for task in self._writers:
            shutil.rmtree(self._folder / task)
        return json.loads((self._folder / "results.json").read_text(encoding="utf-8"))

    def _write_instances(self, output: Any, stem: Path) -> str:
        """A PNG for each object, and a list of them with label ids and scores."""
        instances = output["instances"].to("cpu")
        lines = []
        for i in range(len(instances)):
            name = f"{stem.name}_{i}.png"
            mask = Image.fromarray(instances.pred_masks[i].numpy().astype(bool))  # one bit a pixel
            mask.save(stem.with_name(name), compress_level=1)
            label = LABEL_IDS[STUFF_CLASSES.index(THINGS[int(instances.pred_classes[i])])]
            lines.append(f"{name} {label} {float(instances.scores[i])}\n")
        path = stem.with_name(f"{stem.name}_pred.txt")
        path.write_text("".join(lines), encoding="utf-8")
        return str(path)

    def _write_semantic(self, output: Any, stem: Path) -> str:
        """A PNG of label ids."""
        classes = output["sem_seg"].argmax(dim=0).to("cpu").numpy()
        path = stem.with_name(f"{stem.name}_pred.png")
        Image.fromarray(np.array(LABEL_IDS, np.uint8)[classes]).save(path)
        return str(path)
