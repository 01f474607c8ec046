"""Networks of timm under a pyramid: maps by stride, frozen stages, other norms, and what cannot be built."""

from pathlib import Path

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from small import small_cfg, small_model
from torch import nn

from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.modeling import build_once
from mtl_d2.modeling.backbone import timm_trunk
from mtl_d2.modeling.backbone.norms import NORMS, grouped
from mtl_d2.modeling.backbone.timm_trunk import TimmTrunk, trunk_mistakes
from mtl_d2.options import declared, table

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = "test_efficientnet"  # timm's, a few thousand parameters; its batch norms hold activations


def trunk_cfg(name=TINY, **keys):
    cfg = small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "build_timm_fpn_backbone", name
    cfg.MODEL.FPN.NORM, cfg.MODEL.TIMM.NORM = "GN", "BN"
    cfg.merge_from_list([word for key, value in keys.items() for word in ("MODEL." + key.replace("__", "."), value)])
    return cfg


def network(name=TINY, seed=0, **options):
    """In evaluation mode, with statistics as after some training."""
    torch.manual_seed(seed)
    found = timm.create_model(name, features_only=True, **options)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return found.eval()


def images(*size, n=2):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(1)) * 4 - 2


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "GN"])
@pytest.mark.parametrize("name", [TINY, "test_resnet"])
def test_converted_batch_norms_give_the_same_in_evaluation(name, norm):
    before = network(name).double()(images(64, 96).double())
    after = NORMS[norm](network(name)).eval().double()(images(64, 96).double())
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)


def test_detectron2s_own_conversion_would_lose_the_activations():
    before = network()(images(64, 96))[-1]
    after = FrozenBatchNorm2d.convert_frozen_batchnorm(network())(images(64, 96))[-1]
    assert (before - after).norm() > 0.1 * before.norm()


def test_group_norms_take_the_place_of_batch_norms_and_keep_activations():
    converted = grouped(network())
    norms = [m for m in converted.modules() if isinstance(m, nn.GroupNorm)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in converted.modules())
    assert len(norms) == sum(isinstance(m, nn.BatchNorm2d) for m in network().modules())
    assert all(m.num_channels % m.num_groups == 0 and m.num_groups <= 8 for m in norms)
    kinds = [type(m.act) for m in network().modules() if isinstance(m, nn.BatchNorm2d)]
    assert [type(m.act) for m in norms] == kinds


def test_group_norms_do_not_mix_samples():
    converted, pair = grouped(network()).train(), images(64, 96)
    for both, alone in zip(converted(pair), converted(pair[:1]), strict=True):
        torch.testing.assert_close(both[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", [TINY, "test_resnet", "test_convnext", "mambaout_femto", "swin_s3_tiny_224(strict_img_size=False)"]
)
def test_maps_are_named_by_their_stride_whatever_the_order_of_their_axes(name):
    cfg = trunk_cfg(name, BACKBONE__FREEZE_AT=0)
    with torch.device("meta"):
        pyramid = build_backbone(cfg)
        maps = pyramid.bottom_up(torch.empty(2, 3, 64, 128))
    assert list(maps) == ["res2", "res3", "res4"]
    for name, shape in pyramid.bottom_up.output_shape().items():
        assert maps[name].shape == (2, shape.channels, 64 // shape.stride, 128 // shape.stride)
        assert shape.stride == 2 ** int(name[3:])


def test_what_comes_with_channels_last_is_the_network_s_own_map():
    own = network("mambaout_femto")
    trunk = TimmTrunk(own, ["res2", "res3"]).eval()
    maps, expected = trunk(images(64, 96)), own(images(64, 96))
    torch.testing.assert_close(maps["res3"], expected[1].permute(0, 3, 1, 2))


def test_dilated_stages_give_the_last_map_of_their_stride():
    trunk = build_backbone(trunk_cfg("test_resnet", TIMM__OUTPUT_STRIDE=16, BACKBONE__FREEZE_AT=0)).bottom_up
    with torch.no_grad():
        maps = trunk.eval().network(images(64, 96))
        torch.testing.assert_close(trunk(images(64, 96))["res4"], maps[-1])
    assert tuple(maps[-1].shape[-2:]) == (4, 6)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 3])
def test_what_the_first_maps_depend_on_neither_learns_nor_moves_its_statistics(freeze_at):
    trunk = TimmTrunk(network().train(), ["res2", "res3", "res4"], freeze_at)
    before = {name: value.clone() for name, value in trunk.network.named_buffers()}
    maps = trunk.network(images(64, 96))
    for one, stride in zip(maps, trunk.network.feature_info.reduction(), strict=True):
        assert one.requires_grad == (stride > 2**freeze_at)
    moved = {name for name, value in trunk.network.named_buffers() if not torch.equal(before[name], value)}
    assert any(name.startswith("bn1.") for name in moved) == (freeze_at == 0)
    assert any(name.startswith("blocks.3") for name in moved)


def test_first_convolution_need_not_take_the_image():
    """TResNet moves pixels to channels before it."""
    keys = {"TIMM__NORM": "BN", "BACKBONE__FREEZE_AT": 0, "FPN__IN_FEATURES": ["res2", "res3"]}
    assert trunk_mistakes(trunk_cfg("tresnet_m", **keys)) == []


def test_stage_without_a_wanted_map_learns_nothing():
    trunk = TimmTrunk(network().train(), ["res2", "res3"])
    sum(one.sum() for one in trunk(images(64, 96)).values()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in trunk.parameters())


def test_network_ends_where_its_last_wanted_map_is():
    short, long = (
        build_backbone(trunk_cfg("test_resnet", FPN__IN_FEATURES=names)).bottom_up
        for names in (["res2", "res3"], ["res2", "res3", "res4", "res5"])
    )
    assert len(short.state_dict()) < len(long.state_dict())
    assert list(short.state_dict()) == list(long.state_dict())[: len(short.state_dict())]


@pytest.mark.parametrize(("block", "levels"), [("", 3), ("pool", 4), ("convs", 5)])
def test_pyramid_has_the_levels_of_its_top_block(block, levels):
    pyramid = build_backbone(trunk_cfg(FPN__TOP_BLOCK=block))
    found = pyramid(images(64, 96))
    assert list(found) == list(pyramid.output_shape()) == [f"p{2 + i}" for i in range(levels)]
    for name, shape in pyramid.output_shape().items():
        assert found[name].shape[1:] == (16, -(-64 // shape.stride), -(-96 // shape.stride))


def test_model_has_its_last_shared_layer_and_every_shared_parameter_in_reach():
    model = small_model(cfg=trunk_cfg(FPN__TOP_BLOCK="convs"))
    last = [p for level in (3, 4) for p in model.backbone.get_submodule(f"fpn_output{level}").parameters()]
    assert [id(p) for p in model.last_shared_parameters()] == [id(p) for p in last]
    reached = set().union(*model.reached_parameters().values())
    trainable = {name for name, p in model.named_parameters() if p.requires_grad and name.startswith("backbone")}
    assert {name for name in trainable - reached if "top_block" not in name} == set()


def test_seed_says_how_a_trunk_begins():
    first, again, other = (small_model(seed=seed, cfg=trunk_cfg()).backbone.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("reznet50", {}, r"MODEL\.TIMM\.NAME is 'reznet50', which is none of timm's \d+ networks; near are resnet50"),
        ("resnet50(", {}, r"MODEL\.TIMM\.NAME: 'resnet50\(' is not a name with arguments"),
        ("resnet50.a1_in1k", {}, "pretrained weights are MODEL.WEIGHTS', so leave timm's tag out"),
        ("resnet50(pretrained=True)", {}, "weights are named by MODEL.WEIGHTS, leave them out here"),
        ("resnet50(checkpoint_path='a.pth')", {}, "weights are named by MODEL.WEIGHTS, leave them out here"),
        ("resnet50(depth=3)", {}, r"timm cannot build .*unexpected keyword argument 'depth'"),
        ("test_resnet", {"BACKBONE__FREEZE_AT": 9}, r"FREEZE_AT 9 .*there is no map res9; there are res1, res2"),
        ("test_convnext", {"BACKBONE__FREEZE_AT": 1}, "there is no map res1; there are res2"),
        ("test_resnet", {"FPN__IN_FEATURES": ["res5", "res6"]}, "there is no map res6"),
        ("test_resnet", {"FPN__IN_FEATURES": ["res2", "res4"]}, r"IN_FEATURES must be maps .* without a gap"),
        ("test_resnet", {"FPN__IN_FEATURES": ["p3"]}, r"IN_FEATURES must be maps .* got \['p3'\]"),
        (
            "test_resnet",
            {"TIMM__OUTPUT_STRIDE": 16, "FPN__IN_FEATURES": ["res4", "res5"]},
            "OUTPUT_STRIDE 16: there is no map res5",
        ),
        ("test_resnet", {"TIMM__OUTPUT_STRIDE": 12}, r"MODEL\.TIMM\.OUTPUT_STRIDE must be 8, 16 or 32, got 12"),
        ("test_convnext", {"TIMM__NORM": "GN"}, r"'GN' takes the place of batch norms, and test_convnext has none"),
        (
            "test_resnet",
            {"TIMM__NORM": "gn"},
            r"MODEL\.TIMM\.NORM must be one of 'BN', .* got 'gn'",
        ),
        (
            "swin_s3_tiny_224",
            {"BACKBONE__FREEZE_AT": 0},
            "does not take images of any size: Input height",
        ),
        ("convmixer_768_32", {"BACKBONE__FREEZE_AT": 0}, "not powers of two|not implemented"),
    ],
)
def test_trunk_that_cannot_be_built_is_said_before_data_are_read(name, keys, said):
    with pytest.raises(ConfigError, match=said) as raised:
        check_mtl_config(trunk_cfg(name, **keys))
    assert str(raised.value).count("\n") == 1


def test_check_draws_nothing_from_the_generators(monkeypatch):
    monkeypatch.setattr(build_once, "_built", set())
    before = torch.get_rng_state()
    check_mtl_config(trunk_cfg())
    assert torch.equal(torch.get_rng_state(), before)


def test_trunk_of_many_methods_is_built_once_to_be_checked_and_a_mistake_is_told_each_time(monkeypatch):
    built = []

    def build_trunk(cfg, *_):
        built.append(cfg.MODEL.TIMM.NORM)
        if built[-1] == "GN":
            raise timm_trunk.TrunkError("no such norm")

    monkeypatch.setattr(build_once, "_built", set())
    monkeypatch.setattr(timm_trunk, "build_trunk", build_trunk)
    cfgs = [trunk_cfg(TIMM__NORM=norm) for norm in ("BN", "BN", "GN", "GN", "SyncBN", "BN")]
    cfgs[1].MTL.GRADIENT.AGGREGATOR = "mgda"
    assert [trunk_mistakes(cfg) for cfg in cfgs] == [[], [], ["no such norm"], ["no such norm"], [], []]
    assert built == ["BN", "GN", "GN", "SyncBN"]


@pytest.mark.parametrize("node", ["MODEL.TIMM", "MODEL.BIFPN"])
def test_the_page_has_the_table_of_the_declared_keys(node):
    assert table(dict(declared())[node]) in (REPOSITORY / "docs/pretrained.md").read_text()


@pytest.mark.parametrize("name", ["sample_scenes_lite0", "bdd100k_lite0_bifpn"])
def test_configs_on_lite0_are_right(name):
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(REPOSITORY / f"configs/{name}.yaml"), ["MODEL.DEVICE", "cpu"])
    check_mtl_config(cfg)
