"""The trunk of VOC + NYU: torchvision's EfficientNet and its weights, and the BiFPN of sums."""

import pytest
import torch
import torchvision
from detectron2.modeling import build_backbone
from small import small_model
from small_retinanet import small_retinanet_cfg
from test_bifpn import Maps
from torch import nn
from torch.nn import functional as F

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.modeling.backbone.sum_bifpn import SumBiFPN
from mtl_d2.modeling.backbone.torchvision_efficientnet import EfficientNetMaps

LEVELS = ["p3", "p4", "p5"]


def trunk_cfg(name="efficientnet_b0", **keys):
    cfg = small_retinanet_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.EFFICIENTNET.NAME = "build_efficientnet_bifpn_backbone", name
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.BIFPN.LEVELS, cfg.MODEL.BIFPN.REPEATS, cfg.MODEL.BIFPN.FUSION = 3, 2, "sum"
    cfg.MODEL.RETINANET.IN_FEATURES = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = LEVELS
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128]]
    cfg.merge_from_list([word for key, value in keys.items() for word in (f"MODEL.{key}", value)])
    return cfg


def test_v2_s_ends_where_the_paper_takes_its_last_map():
    with torch.device("meta"):
        trunk = EfficientNetMaps("efficientnet_v2_s", 0.2, 32)
        whole = torchvision.models.efficientnet_v2_s()
    assert list(trunk.state_dict()) == [f"features.{key}" for key in whole.features[:7].state_dict()]
    assert sum(p.numel() for p in trunk.parameters()) == 19_847_248
    assert sum(p.numel() for p in whole.features[:7].parameters()) == 19_847_248
    assert trunk.feature_info.reduction() == [2, 4, 8, 16, 16, 32]
    assert trunk.feature_info.channels() == [24, 48, 64, 128, 160, 256]
    assert {m.eps for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_pyramid_has_the_papers_levels_and_parameters():
    with torch.device("meta"):
        pyramid = build_backbone(trunk_cfg("efficientnet_v2_s", **{"BIFPN.NORM": "BN"}))
        maps = pyramid(torch.empty(2, 3, 640, 640))
    assert {name: tuple(one.shape) for name, one in maps.items()} == {
        "p3": (2, 64, 80, 80), "p4": (2, 64, 40, 40), "p5": (2, 64, 20, 20)
    }  # fmt: skip
    lateral = sum(64 * channels + 2 * 64 for channels in (64, 160, 256))
    up = 64 * 128 + 2 * 128 + 9 * 128 + 2 * 128 + 128 * 64 + 2 * 64
    own = sum(p.numel() for p in pyramid.parameters()) - sum(p.numel() for p in pyramid.bottom_up.parameters())
    assert own == lateral + 2 * 2 * up


def test_weights_of_torchvision_load_and_give_its_maps(tmp_path, caplog):
    torch.manual_seed(5)
    whole = torchvision.models.efficientnet_v2_s()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    torch.save(whole.state_dict(), tmp_path / "efficientnet_v2_s.pth")
    model = small_model(cfg=trunk_cfg("efficientnet_v2_s"))
    with caplog.at_level("INFO", "mtl_d2"):
        MultiTaskCheckpointer(model, str(tmp_path)).resume_or_load(
            str(tmp_path / "efficientnet_v2_s.pth"), resume=False
        )
    assert "tensors of backbone.bottom_up are loaded by their order" in caplog.text
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps, expected = model.eval().backbone.bottom_up(images), []
        for stage in whole.eval().features[:7]:
            images = stage(images)
            expected.append(images)
    for found, place in zip(maps.values(), (3, 5, 6), strict=True):  # the paper's extraction points
        assert torch.equal(found, expected[place])


def pyramid(repeats=1, norm=""):
    torch.manual_seed(0)
    return SumBiFPN(Maps(), ["res3", "res4", "res5"], channels=8, repeats=repeats, norm=norm).double()


def test_levels_follow_the_equations():
    network, images = pyramid(2), torch.rand(2, 3, 64, 160).double()
    part, trunk = network.get_submodule, network.bottom_up(images)
    x3, x4, x5 = (part(f"lateral{k}")(trunk[f"res{k}"]) for k in (3, 4, 5))
    for name in ("up{}_0", "fpn_output{}"):
        td4 = x4 + x5.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x3 = x3 + td4.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x4 = td4 + part(name.format(4))(x3)
        x5 = x5 + part(name.format(5))(x4)
    found = network(images)
    for level, expected in zip(LEVELS, (x3, x4, x5), strict=True):
        torch.testing.assert_close(found[level], expected)


def test_way_up_is_an_inverted_bottleneck():
    (expand, depthwise, project), images = pyramid().get_submodule("fpn_output4"), torch.rand(1, 8, 6, 6).double()
    inner = F.conv2d(images, expand[0].weight, expand[0].bias).clamp(0, 6)
    inner = F.conv2d(inner, depthwise[0].weight, depthwise[0].bias, stride=2, padding=1, groups=16).clamp(0, 6)
    expected = F.conv2d(inner, project[0].weight, project[0].bias)
    torch.testing.assert_close(pyramid().get_submodule("fpn_output4")(images), expected)


def test_every_level_depends_on_every_map_and_every_parameter_is_used():
    network = pyramid(2, "GN")
    maps = {name: one.requires_grad_() for name, one in network.bottom_up(torch.rand(1, 3, 64, 96).double()).items()}
    network.bottom_up.forward = lambda images: maps
    found = network(None)
    for one in found.values():
        reached = torch.autograd.grad(one.square().sum(), list(maps.values()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in reached)
    sum(one.square().sum() for one in found.values()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_last_shared_layer_is_the_way_up_of_the_last_time_and_all_is_in_reach():
    cfg = trunk_cfg(**{"EFFICIENTNET.NORM": "GN"})
    check_mtl_config(cfg)
    model = small_model(cfg=cfg)
    last = [p for level in (4, 5) for p in model.backbone.get_submodule(f"fpn_output{level}").parameters()]
    assert [id(p) for p in model.last_shared_parameters()] == [id(p) for p in last]
    trainable = {name for name, p in model.named_parameters() if p.requires_grad and name.startswith("backbone")}
    assert [set(reached) == trainable for reached in model.reached_parameters().values()] == [True, True]


def test_what_the_first_maps_depend_on_is_fixed():
    trunk = build_backbone(trunk_cfg(**{"BACKBONE.FREEZE_AT": 2})).bottom_up
    moving = {name.split(".")[2] for name, p in trunk.named_parameters() if p.requires_grad}
    assert moving == {"3", "4", "5", "6", "7"}  # of B0, whose map of stride 4 is stage 2's


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"BIFPN.LEVELS": 5}, r"BIFPN\.LEVELS must be 3 for build_efficientnet_bifpn_backbone, .* got 5"),
        ({"BIFPN.FUSION": "fast"}, r"BIFPN\.FUSION must be 'sum' .* which has no weights; got 'fast'"),
        ({"EFFICIENTNET.NAME": "efficientnet_v2"}, r"EFFICIENTNET\.NAME must be one of 'efficientnet_v2_s', "),
        ({"EFFICIENTNET.STOCHASTIC_DEPTH": 1.0}, r"STOCHASTIC_DEPTH must be a finite number >= 0 and < 1, got 1\.0"),
        ({"FPN.IN_FEATURES": ["res4", "res5", "res6"]}, "there is no map res6; there are res1, res2"),
        ({"FPN.IN_FEATURES": ["res3", "res5", "res4"]}, "must be maps of the trunk from fine to coarse"),
        ({"PIXEL_MEAN": [1.0], "PIXEL_STD": [1.0]}, "takes images of 3 channels, MODEL.PIXEL_MEAN has 1"),
    ],
)
def test_what_cannot_be_built_is_said(keys, said):
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(trunk_cfg(**keys))
