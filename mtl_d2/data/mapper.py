"""From a data set's record to a sample: one geometry for the image and for every label of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_file, read_label_map
from mtl_d2.tasks import LABELS, REGIONS, available_tasks, is_region

# Keys of a record that are labels, or say how to read one: the sample carries what is made of them instead.
_LABEL_KEYS = frozenset(label.record_key for label in LABELS.values()) | {
    "ignore_label",
    "sem_seg_table",
}


@dataclass(frozen=True)
class Geometry:
    """What the augmentation did to one image.

    Attributes:
        transforms: from the image as stored to the image as trained on.
        before: (height, width) as stored, in pixels.
        after: (height, width) as trained on, in pixels.
    """

    transforms: T.TransformList
    before: tuple[int, int]
    after: tuple[int, int]


class MultiTaskMapper:
    """Makes a sample of a record, with the labels of the configured tasks that the record has.

    A sample has ``image`` (3, H, W) uint8 in the channel order of ``INPUT.FORMAT``, ``height`` and ``width`` as stored,
    and for training the labels (``instances``, for the task instance with ``gt_masks``; ``sem_seg`` (H, W) int64),
    ``tasks`` and ``position``; beside ``instances``, where there are any, ``regions_left_out``, boxes (K, 4).
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        tasks: Sequence[str],
        num_semantic_classes: int,
        ignore_label: int,
        seed: int = -1,
        mask_format: str = "polygon",
        boxes_of_masks: bool = False,
        leave_regions_out: bool = True,
    ) -> None:
        """Args as :meth:`from_config` takes them from the config.

        Args:
            is_train: whether labels are read.
            augmentations: applied in this order to image and labels alike.
            image_format: channel order, as ``detection_utils.read_image`` takes it.
            tasks: names of the tasks whose labels are read.
            num_semantic_classes: ids in a label map are below this.
            ignore_label: the id, beyond those, of pixels without a label.
            seed: augmentation at a position is drawn from (seed, position); negative = from the global generators.
            mask_format: "polygon" or "bitmask", as ``INPUT.MASK_FORMAT``.
            boxes_of_masks: whether boxes are taken of the transformed masks, where there are any: a crop that cuts an
                object leaves a tighter box than the cut box is.
            leave_regions_out: whether samples have ``regions_left_out``; without it they are background.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.tasks = tuple(tasks)
        self.num_semantic_classes = num_semantic_classes
        self.ignore_label = ignore_label
        self.seed = seed
        self.mask_format = mask_format
        self.boxes_of_masks = boxes_of_masks
        self.leave_regions_out = leave_regions_out
        self._readers: dict[str, Callable[[dict[str, Any], Geometry], Any]] = {
            "instances": self._read_instances,
            "sem_seg": self._read_sem_seg,
        }

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments of ``__init__`` from the config; the augmentations are detectron2's own for it."""
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "tasks": cfg.MTL.TASKS,
            "num_semantic_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "seed": cfg.SEED,
            "mask_format": cfg.INPUT.MASK_FORMAT,
            "boxes_of_masks": cfg.INPUT.CROP.ENABLED,
            "leave_regions_out": cfg.MTL.DATA.CROWD_REGIONS == "ignore",
        }

    def __call__(self, record: dict[str, Any], position: int | None = None) -> dict[str, Any]:
        """The sample of ``record`` at ``position`` of the global stream; the record is left as it is.

        Args:
            record: detectron2's dataset dict.
            position: what the augmentation is keyed by; None = it is drawn from the global generators.

        Raises:
            DataError: the image or a label file cannot be read or does not fit; the message names the file.
            SizeMismatchError: the image has another size than the record says.
        """
        sample = {k: v for k, v in record.items() if k not in _LABEL_KEYS}
        image = read_file(record["file_name"], self.image_format)
        utils.check_image_size(sample, image)
        seen = T.AugInput(image)
        # Resizing draws its size even where there is one to choose: a test leaves the global generators alone.
        with seeded(self.seed, position) if self.is_train else seeded(0, 0):
            transforms = self.augmentations(seen)
        sample["image"] = torch.as_tensor(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))  # (3, H, W)
        if not self.is_train:
            return sample
        geometry = Geometry(transforms, before=image.shape[:2], after=seen.image.shape[:2])
        wanted = [LABELS[task].sample_key for task in self.tasks if LABELS[task].is_in_record(record)]
        for key in dict.fromkeys(k for k in wanted if k in self._readers):  # a class id is in the sample already
            label = self._readers[key](record, geometry)
            if label is not None:
                sample[key] = label
        regions = _regions(record, geometry) if self.leave_regions_out and "instances" in sample else ()
        if len(regions):
            sample[REGIONS] = regions
        sample["tasks"] = available_tasks(sample, self.tasks)
        if position is not None:
            sample["position"] = position
        return sample

    def _read_instances(self, record: dict[str, Any], geometry: Geometry) -> Instances:
        masks = "instance" in self.tasks and LABELS["instance"].is_in_record(record)
        keys = ("bbox", "bbox_mode", "category_id", *(("segmentation",) if masks else ()))
        annotations = [
            utils.transform_instance_annotations({k: a[k] for k in keys}, geometry.transforms, geometry.after)
            for a in record["annotations"]
            if not is_region(a)
        ]
        instances = utils.annotations_to_instances(annotations, geometry.after, self.mask_format)
        if masks and not annotations:  # detectron2 leaves the field out
            instances.gt_masks = _no_masks(self.mask_format, geometry.after)
        if masks and self.boxes_of_masks:
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)

    def _read_sem_seg(self, record: dict[str, Any], geometry: Geometry) -> torch.Tensor | None:
        """(H, W) int64, or None where a crop holds ignored pixels only: it has no label to learn from."""
        path = record["sem_seg_file_name"]
        ignored = record.get("ignore_label", self.ignore_label)
        labels = read_label_map(path, self.num_semantic_classes, ignored, record.get("sem_seg_table"))
        if labels.shape != geometry.before:
            raise DataError(f"{path}: size {labels.shape} (height, width), but its image has {geometry.before}")
        if "ignore_label" in record:
            labels = np.where(labels == record["ignore_label"], np.uint8(self.ignore_label), labels)
        labels = geometry.transforms.apply_segmentation(labels)
        if (labels == self.ignore_label).all():
            return None
        return torch.as_tensor(labels.astype(np.int64))


def _regions(record: dict[str, Any], geometry: Geometry) -> Boxes:
    """The boxes of a record's regions as the image shows them; those that a crop leaves nothing of are dropped.

    A region with a mask counts with the box around it: so does evaluation, and it is the lesser harm to leave too much
    of the background out.
    """
    boxes = [
        utils.transform_instance_annotations(
            {k: a[k] for k in ("bbox", "bbox_mode")}, geometry.transforms, geometry.after
        )["bbox"]
        for a in record["annotations"]
        if is_region(a)
    ]
    found = Boxes(np.array(boxes, np.float32).reshape(-1, 4))
    return found[found.nonempty(threshold=1e-5)]  # as detectron2 has it for objects


def _no_masks(mask_format: str, size: tuple[int, int]) -> PolygonMasks | BitMasks:
    return PolygonMasks([]) if mask_format == "polygon" else BitMasks(torch.zeros(0, *size, dtype=torch.bool))


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
