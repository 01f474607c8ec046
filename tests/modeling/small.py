"""A small model of the kind the demo trains, and batches for it."""

import threading

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, PolygonMasks

import mtl_d2.modeling  # noqa: F401
from mtl_d2.balancing import Oracle
from mtl_d2.config import add_mtl_config
from mtl_d2.parallel.reduction import Exchange, Reduction


def small_cfg(*tasks):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = tasks or ("detection", "semantic")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.NORM = "regnetx_002(depth=5, wa=36.0, w0=24, wm=2.0)", "GN"
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
    for head in (cfg.MODEL.DEPTH_HEAD, cfg.MODEL.NORMALS_HEAD):
        head.IN_FEATURES, head.CONVS_DIM = ["p2", "p3", "p4"], 16
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
    labelled = torch.rand(h, w, generator=generator) < 0.8
    if "depth" in tasks:
        found["depth"] = (1 + 4 * torch.rand(h, w, generator=generator)) * labelled
    if "normals" in tasks:
        found["normals"] = torch.nn.functional.normalize(torch.randn(3, h, w, generator=generator), dim=0) * labelled
    return found


def _diamond(x0, y0, x1, y1):
    """A polygon through the middles of a box's sides."""
    return torch.stack([(x0 + x1) / 2, y0, x1, (y0 + y1) / 2, (x0 + x1) / 2, y1, x0, (y0 + y1) / 2]).double().numpy()


class Ranks(Reduction):
    """One of two processes, as threads that exchange what they sum."""

    world_size = 2
    slots: list = [None, None]
    barrier = threading.Barrier(2, timeout=60)

    def __init__(self, rank):
        self.rank = rank

    def _both(self, value):
        self.slots[self.rank] = value
        self.barrier.wait()
        both = list(self.slots)
        self.barrier.wait()
        return both

    def total(self, value):
        return sum(self._both(value))

    def average(self, value):
        return self.total(value) / 2

    def start_average(self, value):
        average = self.average(value)
        return lambda: average

    def numbers_of_all(self, numbers):
        return self._both(list(numbers))

    def exchange(self, parts=False):
        return Averages(self)


class Averages(Exchange):
    def __init__(self, ranks):
        super().__init__()
        self.ranks = ranks

    def send(self, gradients, like):
        zeros = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
        super().send([self.ranks.average(g) for g in zeros], like)


def of_two_processes(models, samples):
    """What each of two processes finds with its model and its half of ``samples``: two ``TaskGradients``."""
    found = [None, None]

    def update(rank):
        half = len(samples) // 2
        oracle = Oracle(models[rank], Ranks(rank))
        oracle.load(samples[half * rank : half * (rank + 1)])
        found[rank] = oracle.gradients()

    threads = [threading.Thread(target=update, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def assert_same_gradients(found, expected, rel=1e-10):
    """Losses, rows and heads of two ``TaskGradients`` agree but for rounding, by default of float64."""
    assert found.terms.keys() == expected.terms.keys()
    for key, value in expected.terms.items():
        assert abs(found.terms[key] - value) <= rel * abs(value) + 1e-14, key
    for own, wanted in zip([*found.rows, *found.heads], [*expected.rows, *expected.heads], strict=True):
        for g, e in zip(own, wanted, strict=True):
            if e is not None:
                assert (g - e).norm() <= rel * e.norm() + 1e-15
