"""Cityscapes' instance AP and semantic IoU, by its own scripts."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
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
from mtl_d2.evaluation import cityscapes_steps
from mtl_d2.evaluation.class_subsets import require_all_classes
from mtl_d2.evaluation.semantic import class_ids, raise_mistakes
from mtl_d2.evaluation.semantic_scores import CONVENTIONS
from mtl_d2.evaluation.tools import Tool

UNLABELED = 0  # a label id that is no class: as a prediction it is wrong wherever the truth is one
# Kinds of data sets that the scripts evaluate, by their metadata's `evaluator_type`: ours, and detectron2's two.
EVALUATOR_TYPES = ("cityscapes", "cityscapes_instance", "cityscapes_sem_seg")
# Of each task: the label files of the truth, the metadata that names the classes, and these in Cityscapes' own order.
FILES = {"instance": INSTANCE_IDS, "semantic": SEMANTIC_IDS}
CLASSES = {"instance": ("thing_classes", THINGS), "semantic": ("stuff_classes", STUFF_CLASSES)}
DEFINITIONS = {
    "segm": "AP as by cityscapesscripts 2.3: precision stays as it is at each score, without objects below 100 pixels",
    "sem_seg": CONVENTIONS["cityscapes"].definition,
}
# What is said of each task where no image was predicted.
NOTHING: dict[str, tuple[str, dict[str, float]]] = {
    "instance": ("segm", {"AP": 0.0, "AP50": 0.0}),
    "semantic": ("sem_seg", {"mIoU": 0.0, "iIoU": 0.0, "IoU_sup": 0.0, "iIoU_sup": 0.0}),
}

logger = logging.getLogger(__name__)


def require_scripts(dataset_name: str) -> None:
    """Says how to install what evaluates a data set, and what it cannot do.

    Raises:
        DataError: cityscapesscripts is not installed, the data set is not annotated for all of its classes, or the
            number of processes is none.
    """
    cityscapes_steps.processes()
    require_all_classes(dataset_name, [key for key, _ in CLASSES.values()], "Cityscapes' scripts")
    if find_spec("cityscapesscripts") is None:
        raise DataError(
            f"{dataset_name}: Cityscapes' own scripts, which evaluate it, are not installed: "
            "`pip install cityscapesscripts`, or leave the data set out of DATASETS.TEST"
        )


class CityscapesEvaluator(DatasetEvaluator):
    """Every process writes its predictions, has them compared to the truth, and removes them; the first scores all.

    Over processes only counts are gathered, so each may have a disk of its own. How many processes the scripts run in
    is said by ``mtl_d2.evaluation.cityscapes_steps.processes``.

    Results are detectron2's groups: ``segm`` (AP, AP50) for the task instance and ``sem_seg`` (mIoU, and what else the
    scripts say) for the task semantic, in percent. Only the images that were predicted are evaluated. Where there is a
    truth and no prediction they are 0; where there is no truth, as of a class that does not occur, NaN.
    """

    def __init__(self, dataset_name: str, tasks: Sequence[str], folder: Path) -> None:
        """Reads nothing yet.

        Args:
            dataset_name: its metadata's ``gt_dir`` is ``.../gtFine/SPLIT``; ``thing_classes`` and ``stuff_classes`` are
                some of Cityscapes', in any order.
            tasks: of ``instance`` and ``semantic``. Where the scripts fail on one of them, both are lost: an evaluator
                for each of them loses less.
            folder: below it everything is written.

        Raises:
            DataError: there is no ``gt_dir``, a class is none of Cityscapes', or the number of processes is none.
        """
        truth = MetadataCatalog.get(dataset_name).get("gt_dir")
        if truth is None:
            raise DataError(f"{dataset_name}: its metadata has no `gt_dir`, the folder of Cityscapes' gtFine/SPLIT")
        self._name, self._truth = dataset_name, Path(truth).resolve()
        self._label_ids = {task: _label_ids(dataset_name, *CLASSES[task]) for task in tasks}
        self._processes = cityscapes_steps.processes()
        self._folder = folder.resolve() / "cityscapes" / "_".join(tasks) / str(comm.get_rank())
        self._forget()

    def _forget(self) -> None:
        self._predictions: dict[str, dict[str, str]] = {task: {} for task in self._label_ids}  # by file of the truth
        self._mistakes: list[str] = []
        self._written = self._unranked = 0

    def reset(self) -> None:
        """Leaves an empty folder for each process."""
        self._forget()
        if comm.is_main_process():
            shutil.rmtree(self._folder.parent, ignore_errors=True)
        comm.synchronize()
        shutil.rmtree(self._folder, ignore_errors=True)
        for task in self._predictions:
            (self._folder / task).mkdir(parents=True)

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Writes the predictions of some images; what does not fit is kept for :meth:`evaluate`.

        Args:
            inputs: each with ``file_name``, ``.../CITY/NAME_leftImg8bit.png``.
            outputs: detectron2's ``instances`` and ``sem_seg``; without one of them nothing is predicted for its task.
        """
        writers = {"instance": self._write_instances, "semantic": self._write_semantic}
        for given, output in zip(inputs, outputs, strict=True):
            image = Path(given["file_name"])
            for task, files in self._predictions.items():
                truth = self._truth / image.parent.name / (image.name.removesuffix(IMAGE) + FILES[task])
                # Numbered and not named after the image: for the scripts a space ends a name.
                stem = self._folder / task / str(self._written)
                self._written += 1
                try:
                    files[str(truth)] = str(writers[task](output, stem, _size(truth), str(image)))
                except DataError as error:
                    self._mistakes.append(str(error))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """The groups of metrics on the first process, None on the others.

        Raises:
            DataError: on all processes, a line for each image whose truth or prediction does not fit.
            RuntimeError: the scripts failed; the message has what they said. On all processes, if they failed on an
                image.
        """
        parts = comm.all_gather((sum(map(len, self._predictions.values())), self._mistakes, self._unranked))
        raise_mistakes(self._name, [mistake for _, mistakes, _ in parts for mistake in mistakes])
        if comm.is_main_process() and (unranked := sum(count for _, _, count in parts)):
            logger.warning("%s: left out %d objects whose score is NaN, which have no rank", self._name, unranked)
        if not any(predicted for predicted, _, _ in parts):
            return self._nothing()
        counts = self._gathered_counts()
        if not comm.is_main_process():
            return None
        results = cityscapes_steps.score(counts, self._folder)
        for group in results:
            logger.info("%s: %s is %s", self._name, group, DEFINITIONS[group])
        return results

    def _nothing(self) -> dict[str, dict[str, float]] | None:
        if not comm.is_main_process():
            return None
        logger.warning("%s: no image was predicted", self._name)
        return {group: dict(metrics) for group, metrics in (NOTHING[task] for task in self._predictions)}

    def _gathered_counts(self) -> cityscapes_steps.Counts:
        """The counts of all processes' images on the first process; an image of several is the last one's.

        Raises:
            RuntimeError: on all processes, if the scripts failed on one of them.
        """
        pairs = {task: [(files[t], t) for t in sorted(files)] for task, files in self._predictions.items()}
        counts: cityscapes_steps.Counts = {}
        failure = ""
        try:
            counts = cityscapes_steps.count(pairs, self._folder, self._processes)
            for task in pairs:
                shutil.rmtree(self._folder / task)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other processes wait for this one
            failure = str(error) or type(error).__name__
        failures = [line for line in comm.all_gather(failure) if line]
        if failures:
            raise RuntimeError(failures[0])
        parts = comm.gather(counts)
        return {task: {truth: c for part in parts for truth, c in part[task].items()} for task in pairs}

    def _write_instances(self, output: Any, stem: Path, size: tuple[int, int], image: str) -> Path:
        """A PNG for each object, and a list of them with label ids and scores."""
        lines = []
        instances: Any = output["instances"].to("cpu") if "instances" in output else ()
        if len(instances):
            _require_size(tuple(instances.pred_masks.shape[1:]), size, image)
        for i in range(len(instances)):
            score = float(instances.scores[i])
            if math.isnan(score):  # the scripts would take it for the highest
                self._unranked += 1
                continue
            mask = Image.fromarray(instances.pred_masks[i].numpy().astype(bool))  # one bit a pixel
            name = f"{stem.name}_{i}.png"
            mask.save(stem.with_name(name), compress_level=1)
            lines.append(f"{name} {self._label_ids['instance'][int(instances.pred_classes[i])]} {score}\n")
        path = stem.with_name(f"{stem.name}.txt")
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def _write_semantic(self, output: Any, stem: Path, size: tuple[int, int], image: str) -> Path:
        """A PNG of label ids."""
        table = np.array([*self._label_ids["semantic"], UNLABELED], np.uint8)
        none = len(table) - 1
        ids = np.full(size, none)
        if "sem_seg" in output:
            ids = class_ids(output["sem_seg"], none, image)
            _require_size(ids.shape, size, image)
        path = stem.with_name(f"{stem.name}.png")
        Image.fromarray(table[np.where((ids >= 0) & (ids < none), ids, none)]).save(path, compress_level=1)
        return path


def _label_ids(dataset_name: str, key: str, known: Sequence[str]) -> list[int]:
    """The id in the label files of each class that the metadata has under ``key``."""
    classes = MetadataCatalog.get(dataset_name).get(key) or known
    wrong = [name for name in classes if name not in known]
    if wrong:
        raise DataError(
            f"{dataset_name}: its metadata has {wrong} in `{key}`, but Cityscapes' scripts evaluate "
            f"{', '.join(known)}: correct the names, or choose another evaluator_type"
        )
    return [LABEL_IDS[STUFF_CLASSES.index(name)] for name in classes]


def _size(truth: Path) -> tuple[int, int]:
    """Height and width of a label file, of whose pixels nothing is read."""
    try:
        with Image.open(truth) as image:
            return image.height, image.width
    except OSError as error:
        raise DataError(f"cannot read {truth} ({error}): unpack Cityscapes' gtFine_trainvaltest there anew") from error


def _require_size(predicted: tuple[int, ...], size: tuple[int, int], image: str) -> None:
    if predicted != size:
        raise DataError(
            f"{image}: its prediction has size {predicted} (height, width), but its label file has {size}: "
            "`height` and `width` of the record are to be the label file's"
        )


MASKS = Tool(
    "Cityscapes' scripts",
    lambda name, kinds, folder: CityscapesEvaluator(name, ["instance"], folder),
    "look at whether `gt_dir` of its metadata has the ground truth of these images",
    require=require_scripts,
    images=2,  # a process is started each time
    perfect=90.0,  # outlines of polygons.json, which detectron2 reads, are not those of instanceIds.png to a pixel
)
PIXELS = replace(
    MASKS,
    build=lambda name, kinds, folder: CityscapesEvaluator(name, ["semantic"], folder),
    perfect=100.0,
    takes_ids=True,
)
