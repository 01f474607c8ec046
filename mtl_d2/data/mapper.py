"""From a data set's record to a sample: one geometry for the image and for every label of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from mtl_d2.data.augmentations import build_augmentations
from mtl_d2.data.errors import DataError
from mtl_d2.data.geometry import Geometry
from mtl_d2.data.image_library import LIBRARIES, PILLOW, ImageLibrary, image_library
from mtl_d2.data.images import read_file
from mtl_d2.tasks.base import Reader, TaskKind, first_of_each, hidden_keys
from mtl_d2.tasks.options import task_config
from mtl_d2.tasks.registry import all_kinds, kinds_of
from mtl_d2.tasks.sources import PSEUDO, has_pseudo_labels, supervision, unprefixed


class MultiTaskMapper:
    """Makes a sample of a record, with the labels of the configured tasks that the record has.

    A sample has ``image`` (3, H, W) uint8 in the channel order of ``INPUT.FORMAT``, ``height`` and ``width`` as stored,
    and for training the labels, each under the ``sample_key`` of its kind of task (``instances``, with ``gt_masks`` for
    the task instance; ``sem_seg`` (H, W) int64; ...), ``tasks`` and ``position``. What teachers say of it stands under
    the same keys with ``PSEUDO`` before them, and is read by the same readers.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        readers: Mapping[str, Reader | None],
        seed: int = -1,
        draw_all: bool = True,
        library: ImageLibrary = LIBRARIES[PILLOW],
    ) -> None:
        """Args as :meth:`from_config` takes them from the config.

        Args:
            is_train: whether labels are read.
            augmentations: applied in this order to image and labels alike.
            image_format: channel order, as ``detection_utils.read_image`` takes it.
            readers: what reads the labels of each task, by its name.
            seed: augmentation at a position is drawn from (seed, position); negative = from the global generators.
            draw_all: ``MTL.PSEUDO_LABELS.ALLOCATE``.
            library: reads images and transforms their pixels.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format, self.library = image_format, library
        self.kinds = kinds_of(readers)
        self.readers = readers
        self.seed, self.draw_all = seed, draw_all
        # Keys of a record that are labels of any task, or say how to read one: samples have what is made of them.
        kinds: list[TaskKind | type[TaskKind]] = [*all_kinds(), *self.kinds]
        self._hidden = {key for kind in kinds for key in hidden_keys(kind)}

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments of ``__init__`` from the config."""
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "readers": {kind.task: kind.reader(task_config(cfg, kind)) for kind in kinds_of(cfg.MTL.TASKS)},
            "seed": cfg.SEED,
            "draw_all": cfg.MTL.PSEUDO_LABELS.ALLOCATE,
            "library": image_library(cfg, is_train),
        }

    def __call__(self, record: dict[str, Any], position: int | None = None) -> dict[str, Any]:
        """The sample of ``record`` at ``position`` of the global stream; the record is left as it is.

        Args:
            record: detectron2's dataset dict.
            position: what the augmentation is keyed by; None = it is drawn from the global generators.

        Raises:
            DataError: the image or a label file cannot be read or does not fit; the image has another size than the
                record says; the message names the file.
        """
        sample = {k: v for k, v in record.items() if k.removeprefix(PSEUDO) not in self._hidden}
        image = read_file(record["file_name"], self.image_format, self.library.read)
        try:
            utils.check_image_size(sample, image)
        except utils.SizeMismatchError as error:
            raise DataError(" ".join(str(error).split())) from error
        seen = self.library.seen(image)
        # Resizing draws its size even where there is one to choose: a test leaves the global generators alone.
        with seeded(self.seed, position) if self.is_train else seeded(0, 0):
            transforms = self.augmentations(seen)
        sample["image"] = seen.planes()  # (3, H, W)
        if not self.is_train:
            return sample
        geometry = Geometry(transforms, before=image.shape[:2], after=seen.image.shape[:2])
        sample.update(self._labels(record, geometry))
        if has_pseudo_labels(record):
            taught = {k: v for k, v in record.items() if k not in self._hidden} | unprefixed(record, PSEUDO)
            sample.update({PSEUDO + key: value for key, value in self._labels(taught, geometry).items()})
        sample.update(supervision(sample, self.kinds, self.draw_all))
        if position is not None:
            sample["position"] = position
        return sample

    def _labels(self, record: dict[str, Any], geometry: Geometry) -> dict[str, Any]:
        """What the readers make of the labels of one source."""
        labels: dict[str, Any] = {}
        for kind in first_of_each(kind for kind in self.kinds if kind.is_in_record(record)):
            read = self.readers[kind.task]
            if read is not None:
                labels.update(_label(kind, read(record, geometry)))
        return labels


def _label(kind: TaskKind, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reader gave, if it is a label of the task, or nothing.

    Raises:
        ValueError: the label stands somewhere else, so that nobody would see it.
    """
    if given and kind.sample_key not in given:
        raise ValueError(
            f"the reader of task {kind.task!r} gave {sorted(given)}, but its samples have {kind.sample_key!r}"
        )
    return given


@contextmanager
def seeded(seed: int, position: int | None) -> Iterator[None]:
    """Python's, numpy's and torch's CPU generators keyed by (seed, position) inside, as they were afterwards.

    detectron2's augmentations draw from numpy's global generator, others from the two others.

    Args:
        seed: negative = do nothing.
        position: None = do nothing.
    """
    if position is None or seed < 0:
        yield
        return
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence((seed, position)).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.default_generator.manual_seed(int(words[0]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
