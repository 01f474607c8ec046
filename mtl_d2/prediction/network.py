"""A trained network that is called with images: ``from mtl_d2 import load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from torch import nn

from mtl_d2.data.augmentations import build_augmentations
from mtl_d2.data.checks.classes import list_key
from mtl_d2.data.image_library import image_library
from mtl_d2.data.images import in_format
from mtl_d2.data.mapper import seeded
from mtl_d2.engine.trained import load_trained
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.images import as_rgb
from mtl_d2.prediction.results import Prediction
from mtl_d2.prediction.run_folder import find_weights, read_run
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of

SCORE_THRESHOLD = 0.3  # as in the report's pictures
HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}


def load(
    run: str | Path,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    half: bool = False,
) -> Network:
    """The network of a training, ready to be called with images.

    ::

        from mtl_d2 import load
        network = load("output/run")
        prediction = network("street.jpg")     # prediction["detection"].boxes, prediction["semantic"].ids, ...

    Args:
        run: ``OUTPUT_DIR`` of the training. Its config says how images are resized, and which tasks there are.
        weights: "best" (``model_best.pth``), "final" (``model_final.pth``), "ema" (``model_ema.pth``), or a file. None
            takes the best where the run chose some by ``MTL.SELECT_BY``, else the final ones or the newest checkpoint.
        device: such as "cpu" or "cuda:0"; None = the run's, or the CPU where this machine has no such device.
        score_threshold: objects of a lower score are left out, in [0, 1]; the network's own threshold, such as
            ``MODEL.FCOS.SCORE_THRESH_TEST``, holds as well.
        half: run the layers with 16 bits, float16 on a GPU and bfloat16 on a CPU.

    Raises:
        PredictionError: there is no run or no such file of weights, or an argument is wrong.
        CheckpointError: the weights cannot be read, or are those of another config.
        ConfigError, DataError: the run's config cannot be used, or nobody knows the names of its classes.
    """
    if not 0 <= score_threshold <= 1:
        raise PredictionError(f"score_threshold must be in [0, 1], got {score_threshold}")
    cfg = read_run(run, device)
    cfg.MODEL.WEIGHTS = str(find_weights(run, weights, bool(cfg.MTL.SELECT_BY)))
    cfg.freeze()
    kinds = first_of_each(kinds_of(cfg.MTL.TASKS))
    model, classes = load_trained(cfg, kinds)
    return Network(cfg, model, kinds, classes, score_threshold=score_threshold, half=half)


class Network:
    """Predicts all tasks of a training at once.

    Attributes:
        cfg: of the training, with ``MODEL.WEIGHTS`` and ``MODEL.DEVICE`` as they are here.
        model: detectron2's, in evaluation mode.
        kinds: the tasks, one for each answer of the model.
        tasks: names of all tasks.
        classes: by task, the names of its classes, as the checkpoint has them.
        metadata: by task, what it is drawn with: names and colours of classes, units.
        score_threshold: objects of a lower score are left out.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        kinds: Sequence[TaskKind],
        classes: Mapping[str, Sequence[str]],
        *,
        score_threshold: float = SCORE_THRESHOLD,
        half: bool = False,
    ) -> None:
        """See ``load``; ``kinds`` as ``first_of_each`` gives them, ``classes`` by their tasks."""
        self.cfg, self.model, self.kinds = cfg, model.eval(), list(kinds)
        self.tasks = tuple(cfg.MTL.TASKS)
        self.classes = {task: tuple(names) for task, names in classes.items()}
        self.metadata = {kind.task: _metadata(cfg, kind, self.classes[kind.task]) for kind in kinds}
        self.score_threshold, self.half = score_threshold, half
        self.device = torch.device(cfg.MODEL.DEVICE)
        first = {kind.sample_key: kind.task for kind in kinds}
        self.shared = {kind.task: first[kind.sample_key] for kind in kinds_of(self.tasks)}
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._library = image_library(cfg, is_train=False)

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], channels: str = ..., batch: int = ...
    ) -> list[Prediction]: ...

    @overload
    def __call__(self, images: Any, channels: str = ..., batch: int = ...) -> Prediction: ...

    def __call__(self, images: Any, channels: str = "RGB", batch: int = 1) -> Prediction | list[Prediction]:
        """All tasks' results for an image, or for each of a list or tuple of them.

        Args:
            images: a path; an array (H, W, 3) uint8 in **RGB**, as Pillow and Matplotlib have it; Pillow's image; or a
                list of such. Whatever ``INPUT.FORMAT`` the network was trained with, it is given that. Arrays (H, W) or
                (H, W, 1) are grey; of (H, W, 4) the transparency is left out; uint16 becomes 8 bits.
            channels: "BGR" for arrays of OpenCV's, such as those of ``cv2.imread`` and ``cv2.VideoCapture``.
            batch: images of a list that cross the network together, >= 1.

        Returns:
            by task, in the pixels of the image as it was given, whatever size the network saw:

            - detection, instance: ``Objects``: ``boxes`` (N, 4) float32 x0, y0, x1, y1 in pixels, ``scores`` (N,),
              ``class_ids`` (N,), ``names``, and ``masks`` (N, H, W) bool or None;
            - semantic: ``ClassMap``: ``ids`` (H, W) uint8 and ``classes``;
            - depth: ``DepthMap``: ``values`` (H, W) float32 in ``unit``, metres for most data sets;
            - normals: ``NormalsMap``: ``vectors`` (H, W, 3) float32 of length 1, x right, y down, z forward;
            - class_...: ``ImageClass``: ``class_id`` and ``name``.

        Raises:
            PredictionError, DataError: something is no image, or a file that cannot be read.
        """
        if batch < 1:
            raise PredictionError(f"batch must be at least 1, got {batch}")
        if not isinstance(images, list | tuple):
            return self._predict([self.sample(as_rgb(images, channels))])[0]
        predictions: list[Prediction] = []
        for start in range(0, len(images), batch):
            samples = [self.sample(as_rgb(image, channels)) for image in images[start : start + batch]]
            predictions += self._predict(samples)
        return predictions

    def _predict(self, samples: Sequence[dict[str, Any]]) -> list[Prediction]:
        return [self.results(output, sample) for output, sample in zip(self.outputs(samples), samples, strict=True)]

    def sample(self, image: Any) -> dict[str, Any]:
        """What detectron2's model takes for an image (H, W, 3) RGB: resized and in the channel order of its training.

        Resizing is exactly that of the run's evaluations. Networks for images of one size, such as digits, which are
        trained without resizing, are given that size.
        """
        shape = getattr(self.model, "image_shape", None)
        if shape is not None:
            return {"image": _of_shape(image, shape, self.cfg.INPUT.FORMAT), **_size(image)}
        seen = self._library.seen(np.ascontiguousarray(in_format(image, self.cfg.INPUT.FORMAT)))
        with seeded(0, 0):
            self._augmentations(seen)
        return {"image": seen.planes(), **_size(image)}

    def outputs(self, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The model's own outputs for samples, on its device, as detectron2 has them."""
        if not samples:
            return []
        with torch.inference_mode(), self._precision():
            return self.model(list(samples))

    def results(self, output: Mapping[str, Any], sample: Mapping[str, Any]) -> Prediction:
        """What a model's output means; see ``__call__``."""
        results = {
            kind.task: kind.result(output[kind.sample_key], self.metadata[kind.task], self.score_threshold)
            for kind in self.kinds
            if kind.sample_key in output
        }
        return Prediction(int(sample["height"]), int(sample["width"]), results, self.shared)

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(self.device.type, HALF.get(self.device.type, torch.float16))


def _size(image: Any) -> dict[str, int]:
    return {"height": image.shape[0], "width": image.shape[1]}


def _of_shape(image: Any, shape: Sequence[int], image_format: str) -> torch.Tensor:
    """(C, H, W) of an image (h, w, 3) RGB; grey where C is 1."""
    channels, height, width = shape
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] if channels == 1 else in_format(image, image_format)
    if pixels.shape[:2] != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, -1)
    return torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _metadata(cfg: CfgNode, kind: TaskKind, names: Sequence[str]) -> Metadata:
    """Of the first data set that knows the task's classes, with the names that the checkpoint has."""
    sets = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    chosen = next((name for name in sets if kind.class_names(name)), sets[0] if sets else "")
    given = dict(MetadataCatalog.get(chosen).as_dict()) if chosen in MetadataCatalog else {}
    given.pop("name", None)
    if kind.classes_key:
        if list(names) != list(map(str, given.get(kind.classes_key) or ())):
            given.pop(kind.classes_key.replace("classes", "colors"), None)
        given[kind.classes_key] = list(names)
    elif names:
        given["classes"] = {**given.get("classes", {}), list_key(kind): list(names)}
    return Metadata(name=f"prediction of {kind.task}", **given)
