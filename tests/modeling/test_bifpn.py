"""BiFPN: fusion by hand, the paper's equations, sizes, and what the balancing asks of it."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone import Backbone
from small import small_cfg, small_model
from torch import nn

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.modeling.backbone.bifpn import BiFPN, Node


class Maps(Backbone):
    """A trunk that gives a picture at strides 8, 16, 32 as it is."""

    def forward(self, images):
        return {f"res{k}": F.avg_pool2d(images, 2**k, ceil_mode=True) for k in (3, 4, 5)}

    def output_shape(self):
        return {f"res{k}": ShapeSpec(channels=3, stride=2**k) for k in (3, 4, 5)}


def bifpn(levels=3, repeats=1, weighted=True):
    torch.manual_seed(0)
    return BiFPN(
        Maps(), ["res3", "res4", "res5"], channels=8, levels=levels, repeats=repeats, norm="", weighted=weighted
    ).double()


def identity(node):
    """Makes the convolutions of a node give what they get."""
    nn.init.zeros_(node.depthwise.weight)
    node.depthwise.weight.data[:, 0, 1, 1] = 1
    nn.init.zeros_(node.pointwise.bias)
    node.pointwise.weight.data[:, :, 0, 0] = torch.eye(len(node.pointwise.weight))
    return node


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1.0, 3.0, -2.0), (1 * 4 + 3 * 8) / 4.0001), ((0.0, 0.0, 0.0), 0.0), (None, 112.0)],
)
def test_node_adds_its_inputs_by_normalized_weights_or_without(weights, expected):
    node = identity(Node(3, 2, "", weighted=weights is not None))
    if weights:
        node.weights.data = torch.tensor(weights)
    maps = [torch.full((1, 2, 3, 3), value) for value in (4.0, 8.0, 100.0)]
    torch.testing.assert_close(node(maps), F.silu(torch.full((1, 2, 3, 3), expected)))


@pytest.mark.parametrize("weighted", [True, False])
def test_three_levels_follow_the_equations(weighted):
    pyramid, images = bifpn(weighted=weighted), torch.rand(2, 3, 88, 136).double()
    part = pyramid.get_submodule
    ins = {k: part(f"lateral{k}")(pyramid.bottom_up(images)[f"res{k}"]) for k in (3, 4, 5)}

    def up(one, k):
        return F.interpolate(one, size=ins[k].shape[-2:], mode="nearest")

    def down(one):
        return F.max_pool2d(one, 3, 2, 1)

    td4 = part("down4_0")([ins[4], up(ins[5], 4)])
    p3 = part("fpn_output3")([ins[3], up(td4, 3)])
    p4 = part("fpn_output4")([ins[4], td4, down(p3)])
    p5 = part("fpn_output5")([ins[5], down(p4)])
    found = pyramid(images)
    for name, expected in (("p3", p3), ("p4", p4), ("p5", p5)):
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("size", [(64, 96), (32, 160), (96, 224)])
def test_five_levels_have_the_sizes_of_their_strides(size):
    pyramid = bifpn(levels=5, repeats=2)
    found = pyramid(torch.rand(1, 3, *size).double())
    assert list(found) == list(pyramid.output_shape()) == ["p3", "p4", "p5", "p6", "p7"]
    for name, shape in pyramid.output_shape().items():
        assert found[name].shape == (1, 8, -(-size[0] // shape.stride), -(-size[1] // shape.stride))


@pytest.mark.parametrize("weighted", [True, False])
def test_every_level_depends_on_every_map_and_every_parameter_is_used(weighted):
    pyramid = bifpn(levels=5, weighted=weighted)
    maps = {k: one.requires_grad_() for k, one in pyramid.bottom_up(torch.rand(1, 3, 64, 96).double()).items()}
    pyramid.bottom_up.forward = lambda images: maps
    found = pyramid(None)
    for one in found.values():
        assert all(
            g.abs().sum() > 0 for g in torch.autograd.grad(one.square().sum(), list(maps.values()), retain_graph=True)
        )
    sum(one.square().sum() for one in found.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pyramid.parameters())


def bifpn_cfg(**keys):
    cfg = small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "build_timm_bifpn_backbone", "test_resnet"
    cfg.MODEL.BIFPN.OUT_CHANNELS, cfg.MODEL.BIFPN.REPEATS, cfg.MODEL.BIFPN.LEVELS = 16, 2, 4
    cfg.merge_from_list([word for key, value in keys.items() for word in (f"MODEL.{key.replace('__', '.')}", value)])
    return cfg


def test_last_shared_layer_is_the_last_nodes_and_all_is_in_reach():
    model = small_model(cfg=bifpn_cfg())
    last = [p for level in (3, 4) for p in model.backbone.get_submodule(f"fpn_output{level}").parameters()]
    assert [id(p) for p in model.last_shared_parameters()] == [id(p) for p in last]
    reached = model.reached_parameters()
    assert not [name for name in reached["semantic"] if "fpn_output5" in name]  # p5 is nobody's here
    assert {"backbone.down3_0.weights", "backbone.up5_0.pointwise.weight"} <= set(reached["detection"])


@pytest.mark.parametrize("fusion", ["fast", "sum"])
def test_builder_follows_the_keys(fusion):
    pyramid = build_backbone(bifpn_cfg(BIFPN__FUSION=fusion, BIFPN__NORM="BN"))
    nodes = [m for m in pyramid.modules() if isinstance(m, Node)]
    assert len(nodes) == 2 * (4 + 2)
    assert all((node.weights is not None) == (fusion == "fast") for node in nodes)
    assert all(isinstance(node.norm, nn.BatchNorm2d) for node in nodes)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"BIFPN__LEVELS": 2}, r"MODEL\.BIFPN\.LEVELS must be at least 2, and the 3 of MODEL\.FPN\.IN_FEATURES, got 2"),
        ({"BIFPN__REPEATS": 0}, r"MODEL\.BIFPN\.REPEATS must be a whole number >= 1, got 0"),
        ({"BIFPN__FUSION": "softmax"}, r"MODEL\.BIFPN\.FUSION must be one of 'fast', 'sum', got 'softmax'"),
        ({"TIMM__NAME": "test_resnot"}, "near are test_resnet"),
    ],
)
def test_what_cannot_be_built_is_said(keys, said):
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(bifpn_cfg(**keys))
