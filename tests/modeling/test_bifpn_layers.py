"""The dense heads of the achievement paper: sizes, parameters, and what stands behind the last convolution."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from small import sample, small_model
from small_retinanet import LIGHT, small_retinanet_cfg
from torch import nn
from torch.nn import functional as F

from mtl_d2.modeling.heads.bifpn_layers import BiFPNLayers

SHAPES = {f"p{k}": ShapeSpec(channels=64, stride=2**k) for k in (4, 3, 5)}  # in any order
TASKS = ("detection", "semantic", "depth", "normals")


def features(n=2):
    generator = torch.Generator().manual_seed(0)
    return {f"p{k}": torch.rand(n, 64, 64 >> k, 96 >> k, generator=generator) for k in (3, 4, 5)}


@pytest.mark.parametrize("channels", [1, 3, 21])
def test_map_has_the_size_of_the_finest_level_and_the_papers_parameters(channels):
    layers = BiFPNLayers(SHAPES, 64, channels, "BN")
    assert layers.in_features == ("p3", "p4", "p5")
    assert layers.common_stride == 8
    assert layers(features()).shape == (2, channels, 8, 12)
    separable = 192 * 9 + 192 * 64 + 2 * 64
    bottleneck = 64 * 128 + 2 * 128 + 9 * 128 + 2 * 128 + 128 * channels + 2 * channels
    assert sum(p.numel() for p in layers.parameters()) == separable + bottleneck


def test_levels_are_resized_to_the_finest_and_stand_in_their_order():
    layers, given = BiFPNLayers(SHAPES, 64, 3, "GN"), features()
    seen = []
    layers.fusion.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    layers(given)
    p4 = F.interpolate(given["p4"], scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0][:, :64], given["p3"])
    torch.testing.assert_close(seen[0][:, 64:128], p4)


@pytest.mark.parametrize(("norm", "last"), [("BN", nn.BatchNorm2d), ("GN", nn.Conv2d), ("", nn.Conv2d)])
def test_each_image_keeps_its_own_mean(norm, last):
    """Group norm of one channel would make the mean of every image's map the same."""
    torch.manual_seed(0)
    layers, given = BiFPNLayers(SHAPES, 64, 1, norm), features()
    assert isinstance(layers.bottleneck[-1][-1], last)
    given = {name: torch.cat([one[:1], 3 * one[1:] ** 2]) for name, one in given.items()}
    one, other = layers(given).mean((1, 2, 3))
    assert (one - other).abs() > 1e-3


def bifpn_cfg(*tasks, norm="GN"):
    cfg = small_retinanet_cfg(*tasks, **LIGHT)
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegMapHead"
    for head in (cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.DEPTH_HEAD, cfg.MODEL.NORMALS_HEAD):
        head.LAYERS, head.IN_FEATURES, head.COMMON_STRIDE, head.NORM = "bifpn", ["p3", "p4"], 8, norm
    return cfg


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_all_kinds_of_tasks_train_and_predict_with_them(norm):
    model = small_model(cfg=bifpn_cfg(*TASKS, norm=norm))
    losses = model([sample(*TASKS, seed=i) for i in range(2)])
    assert set(losses) == {key for task in model.tasks for key in task.loss_keys}
    sum(losses.values()).backward()
    assert all(
        p.grad is not None
        for name, p in model.named_parameters()
        if "fpn_output2" not in name and "fpn_lateral2" not in name
    )
    with torch.no_grad():
        (output,) = model.eval()([sample(size=(60, 90)) | {"height": 120, "width": 180}])
    assert output["depth"].shape == (120, 180)
    assert output["normals"].shape == (3, 120, 180)
    assert output["sem_seg"].shape == (5, 120, 180)


def test_another_stride_than_the_finest_levels_is_refused():
    cfg = bifpn_cfg("depth")
    cfg.MODEL.DEPTH_HEAD.COMMON_STRIDE = 4
    with pytest.raises(ValueError, match="must be the stride of its layers, which is 8 of 'bifpn' on p3, p4, got 4"):
        small_model(cfg=cfg)
