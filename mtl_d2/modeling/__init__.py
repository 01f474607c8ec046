"""Multi-task meta-architectures, heads and trunks. Importing this package puts them into detectron2's registries."""

import mtl_d2.detectron2_is_there  # noqa: F401
from mtl_d2.modeling.backbone.bifpn import build_timm_bifpn_backbone
from mtl_d2.modeling.backbone.efficientnet_bifpn import build_efficientnet_bifpn_backbone
from mtl_d2.modeling.backbone.mtan_resnet import build_mtan_resnet_backbone
from mtl_d2.modeling.backbone.mtan_segnet import build_mtan_segnet_backbone
from mtl_d2.modeling.backbone.packaged import packaged_file
from mtl_d2.modeling.backbone.segnet import build_segnet_backbone
from mtl_d2.modeling.backbone.timm_fpn import build_timm_fpn_backbone
from mtl_d2.modeling.backbone.timm_plain import build_timm_aspp_backbone, build_timm_backbone
from mtl_d2.modeling.heads.bifpn_layers import build_bifpn_layers
from mtl_d2.modeling.heads.deeplab_layers import build_after_aspp_layers, build_deeplab_layers
from mtl_d2.modeling.heads.mtan_deeplab_layers import build_mtan_deeplab_layers
from mtl_d2.modeling.heads.mtan_layers import build_mtan_layers
from mtl_d2.modeling.heads.segnet_layers import build_segnet_layers
from mtl_d2.modeling.heads.semantic import SemSegFPNDiceHead, SemSegFPNEntropyHead, SemSegMapHead
from mtl_d2.modeling.meta_arch.classifier import MultiTaskClassifier
from mtl_d2.modeling.meta_arch.dense import MultiTaskDense
from mtl_d2.modeling.meta_arch.fcos import MultiTaskFCOS
from mtl_d2.modeling.meta_arch.rcnn import MultiTaskRCNN
from mtl_d2.modeling.meta_arch.retinanet import MultiTaskRetinaNet

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskDense",
    "MultiTaskFCOS",
    "MultiTaskRCNN",
    "MultiTaskRetinaNet",
    "SemSegFPNDiceHead",
    "SemSegFPNEntropyHead",
    "SemSegMapHead",
    "build_after_aspp_layers",
    "build_bifpn_layers",
    "build_deeplab_layers",
    "build_efficientnet_bifpn_backbone",
    "build_mtan_deeplab_layers",
    "build_mtan_layers",
    "build_mtan_resnet_backbone",
    "build_mtan_segnet_backbone",
    "build_segnet_backbone",
    "build_segnet_layers",
    "build_timm_aspp_backbone",
    "build_timm_backbone",
    "build_timm_bifpn_backbone",
    "build_timm_fpn_backbone",
    "packaged_file",
]
