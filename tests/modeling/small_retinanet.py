"""A small RetinaNet: detectron2's, or with everything that the achievement paper has."""

import torch
from small import small_cfg

LIGHT = {
    "RETINANET.HEAD": "mbconv",
    "RETINANET.NORM": "GN",
    "RETINANET.MATCHING": "atss",
    "RETINANET.CLASSIFICATION_TARGET": "iou",
    "RETINANET.BBOX_REG_LOSS_TYPE": "ciou",
    "RETINANET.BBOX_REG_LOSS_WEIGHT": 10.0,
    "RETINANET.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
}
KINDS = {"plain": {}, "light": LIGHT}


def small_retinanet_cfg(*tasks, **keys):
    cfg = small_cfg(*tasks)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskRetinaNet"
    cfg.MODEL.RETINANET.IN_FEATURES, cfg.MODEL.RETINANET.NUM_CLASSES = ["p3", "p4"], 4
    cfg.MODEL.RETINANET.NUM_CONVS, cfg.MODEL.RETINANET.NORM = 1, "GN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES, cfg.MODEL.ANCHOR_GENERATOR.OFFSET = [[16], [32]], 0.5
    cfg.merge_from_list([word for key, value in keys.items() for word in (f"MODEL.{key}", value)])
    return cfg


class DoubleTransform:
    """detectron2's transform of boxes, which decodes in single precision whatever it gets, in double."""

    def __init__(self, transform):
        self.transform, self.weights = transform, torch.tensor(transform.weights).double()

    def get_deltas(self, anchors, boxes):
        return self.transform.get_deltas(anchors.double(), boxes.double())

    def apply_deltas(self, deltas, anchors):
        dx, dy, dw, dh = (deltas.double() / self.weights).clamp(max=4).unbind(1)
        x0, y0, x1, y1 = anchors.double().unbind(1)
        w, h = x1 - x0, y1 - y0
        middle = torch.stack([x0 + w / 2 + dx * w, y0 + h / 2 + dy * h], 1)
        half = torch.stack([dw.exp() * w, dh.exp() * h], 1) / 2
        return torch.cat([middle - half, middle + half], 1)


def in_double(model):
    model = model.double()
    model.box2box_transform = DoubleTransform(model.box2box_transform)
    return model
