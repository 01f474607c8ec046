"""Multi-task meta-architectures, heads and trunks. Importing this package puts them into detectron2's registries."""

from mtl_d2.modeling.backbone.regnet import build_regnet_fpn_backbone
from mtl_d2.modeling.heads.semantic import SemSegFPNDiceHead
from mtl_d2.modeling.meta_arch.classifier import MultiTaskClassifier
from mtl_d2.modeling.meta_arch.fcos import MultiTaskFCOS

__all__ = ["MultiTaskClassifier", "MultiTaskFCOS", "SemSegFPNDiceHead", "build_regnet_fpn_backbone"]
