"""Configs of the dense networks, of the published size or small, and batches for them."""

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from small import sample

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import add_mtl_config

TASKS = ("semantic", "depth", "normals")
WIDTHS = (8, 16, 32, 32, 32)
SMALL_RESNET = "resnet26(layers=(2,2,2,2), channels=(8,16,24,32))"
HEADS = {"semantic": "SEM_SEG_HEAD", "depth": "DEPTH_HEAD", "normals": "NORMALS_HEAD"}


def dense_cfg(backbone, layers, feature, stride, tasks=TASKS, **keys):
    """A config of MultiTaskDense whose heads are alike; ``keys`` are below MODEL, "__" for a point."""
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.TASKS = tasks
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "MultiTaskDense"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = backbone, 0
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegMapHead"
    for head in HEADS.values():
        node = cfg.MODEL[head]
        node.LAYERS, node.IN_FEATURES, node.COMMON_STRIDE, node.NORM = layers, [feature], stride, "BN"
        node.CONVS_DIM = 256
        if "segnet" in backbone:
            node.CONVS_DIM, node.NORM = 64, ""
    cfg.merge_from_list([word for key, value in keys.items() for word in ("MODEL." + key.replace("__", "."), value)])
    return cfg


def mtan_segnet(tasks=TASKS, until=1, **keys):
    feature = f"decoder{until}"
    keys = {"SEGNET__OUT_FEATURES": [feature], **keys}
    return dense_cfg("build_mtan_segnet_backbone", "mtan", feature, 2 ** (until - 1), tasks, **keys)


def resnet(backbone, layers, feature, tasks=TASKS, **keys):
    keys = {"TIMM__NAME": "resnet50", "TIMM__OUTPUT_STRIDE": 8, **keys}
    return dense_cfg(backbone, layers, feature, 8, tasks, **keys)


def deeplab(tasks=TASKS, **keys):
    return resnet("build_timm_backbone", "deeplabv3", "res3", tasks, **keys)


def shared_aspp(tasks=TASKS, **keys):
    return resnet("build_timm_aspp_backbone", "after_aspp", "aspp", tasks, **keys)


def mtan_resnet(tasks=TASKS, **keys):
    return resnet("build_mtan_resnet_backbone", "mtan_deeplabv3", "stage4", tasks, **keys)


def own_decoders(tasks=TASKS, stride=1, **keys):
    indices = [f"indices{stage}" for stage in ((2, 3, 4, 5) if stride == 4 else (1, 2, 3, 4, 5))]
    keys = {"SEGNET__OUT_FEATURES": ["pool5", *indices], **keys}
    return dense_cfg("build_segnet_backbone", "segnet", "pool5", stride, tasks, **keys)


PUBLISHED = {
    "split": lambda tasks=TASKS, **keys: dense_cfg("build_segnet_backbone", "split", "decoder1", 1, tasks, **keys),
    "segnet": own_decoders,
    "mtan": mtan_segnet,
    "deeplabv3": deeplab,
    "shared_aspp": shared_aspp,
    "mtan_deeplabv3": mtan_resnet,
}


def small_dense_cfg(name, tasks=TASKS, classes=5, dropout=0.0, **keys):
    """The network ``name`` of ``PUBLISHED`` with few channels, without dropout."""
    small = {"SEGNET__WIDTHS": WIDTHS} if name in ("split", "segnet", "mtan") else {"TIMM__NAME": SMALL_RESNET}
    small |= {f"{head}__CONVS_DIM": 8 for head in HEADS.values()} | {"SEM_SEG_HEAD__NUM_CLASSES": classes}
    if name in ("deeplabv3", "mtan_deeplabv3"):
        small |= {f"{head}__ASPP_RATES": [2, 3] for head in HEADS.values()}
        small |= {f"{head}__ASPP_DROPOUT": dropout for head in HEADS.values()}
    small |= {"ASPP__CHANNELS": 8, "ASPP__RATES": [2, 3], "ASPP__DROPOUT": dropout}
    return PUBLISHED[name](tasks, **{**small, **keys})


def small_dense(name, seed=0, **options):
    torch.manual_seed(seed)
    return build_model(small_dense_cfg(name, **options)).train()


def dense_batch(*tasks_of_samples, size=(64, 96)):
    """A sample for each tuple of tasks."""
    return [sample(*tasks, size=size, seed=i) for i, tasks in enumerate(tasks_of_samples)]


def on_meta(cfg):
    with torch.device("meta"):
        cfg.MODEL.DEVICE = "meta"
        return build_model(cfg)


def parameters(module):
    return sum(p.numel() for p in module.parameters())
