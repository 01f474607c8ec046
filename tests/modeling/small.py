"""A small model of the kind the demo trains, and batches for it."""

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, PolygonMasks

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import add_mtl_config


def small_cfg(*tasks):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = tasks or ("detection", "semantic")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    cfg.MODEL.BACKBONE.NAME = "build_regnet_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.REGNETS.DEPTH = 5
    cfg.MODEL.REGNETS.W_A = 16.0
    cfg.MODEL.REGNETS.W_0 = 24
    cfg.MODEL.REGNETS.W_M = 2.0
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.FPN.NORM = "GN"
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4"]
    cfg.MODEL.FCOS.NUM_CONVS = 1
    cfg.MODEL.FCOS.NUM_CLASSES = 4
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNDiceHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4"]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 5
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 16
    return cfg


def small_rcnn_cfg(*tasks):
    """A Mask R-CNN of the same size; every anchor and every proposal is sampled, so that no draw matters."""
    cfg = small_cfg(*(tasks or ("detection", "instance")))
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskRCNN"
    cfg.MODEL.MASK_ON = "instance" in cfg.MTL.TASKS
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = 60
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 40
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 4096
    cfg.MODEL.RPN.POSITIVE_FRACTION = 1.0
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4"]
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 4096
    cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION = 1.0
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 4
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 4
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 16
    cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 6
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNEntropyHead"
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32  # detectron2's group norm has 32 groups
    return cfg


def small_model(*tasks, seed=0, cfg=None):
    torch.manual_seed(seed)
    return build_model(cfg or small_cfg(*tasks)).train()


def sample(*tasks, size=(64, 96), boxes=2, seed=0):
    """A mapped sample of random content with labels for ``tasks``."""
    generator = torch.Generator().manual_seed(seed)
    h, w = size
    found = {
        "image": torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8),
        "file_name": f"{seed}.png",
    }
    found |= {"height": h, "width": w}
    if "detection" in tasks or "instance" in tasks:
        corner = torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 2, h / 2])
        side = 8 + torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 3, h / 3])
        labels = torch.randint(0, 4, (boxes,), generator=generator)
        found["instances"] = Instances(size, gt_boxes=Boxes(torch.cat([corner, corner + side], 1)), gt_classes=labels)
        if "instance" in tasks:
            found["instances"].gt_masks = PolygonMasks([[_diamond(*box)] for box in found["instances"].gt_boxes])
        found["tasks"] = tasks
    if "semantic" in tasks:
        found["sem_seg"] = torch.randint(0, 5, (h, w), generator=generator)
    return found


def _diamond(x0, y0, x1, y1):
    """A polygon through the middles of a box's sides."""
    return torch.stack([(x0 + x1) / 2, y0, x1, (y0 + y1) / 2, (x0 + x1) / 2, y1, x0, (y0 + y1) / 2]).double().numpy()
