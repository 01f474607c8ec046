"""The batches that ``benchmark.py`` measures updates on."""

from __future__ import annotations

from typing import Any

import torch
from benchmark_models import Setting
from detectron2.structures import Boxes, Instances, PolygonMasks
from torch import Tensor
from torch.nn import functional

from mtl_d2.data.classification import classes_of
from mtl_d2.tasks.registry import is_known, kinds_of


def make_batch(cfg: Any, setting: Setting, disjoint: bool, boxes: int = 8) -> list[dict]:
    """Mapped samples of random content.

    Args:
        cfg: says the tasks and the numbers of classes.
        setting: says size and number of the images.
        disjoint: give each image one task, in turn, instead of all.
        boxes: objects in each image with a detection label.
    """
    num_classes = min(cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    generator = torch.Generator().manual_seed(1)
    h, w = setting.size
    samples = []
    for index in range(setting.batch):
        image = torch.randint(0, 256, (len(cfg.MODEL.PIXEL_MEAN), h, w), generator=generator, dtype=torch.uint8)
        corner = torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 2, h / 2])
        side = 8 + torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 2 - 8, h / 2 - 8])
        classes = torch.randint(0, num_classes, (boxes,), generator=generator)
        blocks = torch.randint(0, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, (h // 16 + 1, w // 16 + 1), generator=generator)
        labels = {
            "instances": Instances((h, w), gt_boxes=Boxes(torch.cat([corner, corner + side], 1)), gt_classes=classes),
            "sem_seg": blocks.repeat_interleave(16, 0).repeat_interleave(16, 1)[:h, :w].contiguous(),
        }
        labels["depth"] = labels["depth/disparity"] = 1 + torch.rand(h, w, generator=generator)
        labels["normals"] = functional.normalize(torch.randn(3, h, w, generator=generator), dim=0)
        if "instance" in cfg.MTL.TASKS:
            labels["instances"].gt_masks = PolygonMasks([[diamond(box)] for box in labels["instances"].gt_boxes])
        labels = {task: index % number for task, number in classes_of(cfg).items()} | labels
        tasks = (cfg.MTL.TASKS[index % len(cfg.MTL.TASKS)],) if disjoint else cfg.MTL.TASKS
        own = {kind.sample_key: labels[kind.sample_key] for kind in kinds_of(filter(is_known, tasks))}
        samples.append({"image": image, "height": h, "width": w, "tasks": tasks, **own})
    return samples


def diamond(box: Tensor) -> Any:
    """A polygon (8,) through the middles of the sides of a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box.double()
    return torch.stack([(x0 + x1) / 2, y0, x1, (y0 + y1) / 2, (x0 + x1) / 2, y1, x0, (y0 + y1) / 2]).numpy()
