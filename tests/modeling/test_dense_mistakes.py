"""Mistakes in a dense network's config: each is one line, with its key, before anything is built or read."""

import re
from pathlib import Path

import pytest
from dense_networks import small_dense_cfg
from small import small_cfg, small_rcnn_cfg
from small_retinanet import small_retinanet_cfg
from torch import nn

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.modules import import_modules
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.modeling.heads.map_layers import MAP_LAYERS, map_layers

DEPTH = "MODEL.DEPTH_HEAD."
SEMANTIC = "MODEL.SEM_SEG_HEAD."
FEATURES = "MODEL.SEGNET.OUT_FEATURES"
# Network, what is set, and what is said of it.
MISTAKES = [
    ("split", {f"{DEPTH}ASPP_RATES": [6]}, "MODEL.DEPTH_HEAD.ASPP_RATES is .6., which LAYERS 'split' do not follow"),
    ("split", {f"{SEMANTIC}ASPP_RATES": [6]}, "MODEL.SEM_SEG_HEAD.ASPP_RATES is .6., which LAYERS 'split'"),
    ("shared_aspp", {f"{DEPTH}ASPP_DROPOUT": 0.1}, "MODEL.DEPTH_HEAD.ASPP_DROPOUT is 0.1, which LAYERS 'after_aspp'"),
    ("segnet", {f"{DEPTH}NORM": "SyncBN"}, "LAYERS 'segnet' do not follow; they have batch norm: leave it out"),
    ("mtan", {f"{SEMANTIC}NORM": "SyncBN"}, "MODEL.SEM_SEG_HEAD.NORM is 'SyncBN', which LAYERS 'mtan' do not follow"),
    ("split", {f"{SEMANTIC}CE_WEIGHT": 0.7}, "CE_WEIGHT is 0.7, which SemSegMapHead does not follow"),
    ("split", {"MODEL.BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2, which build_segnet_backbone does not follow"),
    ("mtan", {"MODEL.BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2, which build_mtan_segnet_backbone does not follow"),
    ("shared_aspp", {"MODEL.TIMM.OUT_FEATURES": ["res2"]}, "OUT_FEATURES is .'res2'., which build_timm_aspp_backbone"),
    ("mtan_deeplabv3", {"MODEL.TIMM.OUT_FEATURES": ["res2"]}, "OUT_FEATURES is .'res2'., which build_mtan_resnet"),
    ("split", {f"{DEPTH}COMMON_STRIDE": 2}, "MODEL.DEPTH_HEAD of task 'depth': COMMON_STRIDE .* got 2"),
    ("split", {f"{DEPTH}LAYERS": "fpn", f"{DEPTH}COMMON_STRIDE": 0}, "DEPTH_HEAD.COMMON_STRIDE must be .* got 0"),
    ("split", {f"{SEMANTIC}COMMON_STRIDE": -1}, "SEM_SEG_HEAD.COMMON_STRIDE must be a whole number >= 1, got -1"),
    ("split", {f"{SEMANTIC}NUM_CLASSES": 0}, "SEM_SEG_HEAD.NUM_CLASSES must be a whole number >= 1, got 0"),
    ("split", {f"{SEMANTIC}CONVS_DIM": 0}, "SEM_SEG_HEAD.CONVS_DIM must be a whole number >= 1, got 0"),
    ("split", {f"{DEPTH}NORM": "Batch"}, "MODEL.DEPTH_HEAD.NORM 'Batch'"),
    ("split", {f"{DEPTH}IN_FEATURES": []}, "MODEL.DEPTH_HEAD.IN_FEATURES is empty"),
    ("split", {f"{DEPTH}LAYERS": "bifpn", f"{DEPTH}IN_FEATURES": ["decoder1"] * 2}, "names 'decoder1' twice"),
    (
        "segnet",
        {f"{DEPTH}LAYERS": "split", f"{DEPTH}IN_FEATURES": ["indices1"], f"{DEPTH}COMMON_STRIDE": 2},
        "MODEL.DEPTH_HEAD.IN_FEATURES names 'indices1', the places of a pooling's maxima",
    ),
    ("split", {"MODEL.SEGNET.WIDTHS": (8, 8, 8, 8)}, "MODEL.SEGNET.WIDTHS must be 5 whole numbers >= 1"),
    ("mtan", {"MODEL.SEGNET.WIDTHS": (8, 8, 8, 8, 0)}, "MODEL.SEGNET.WIDTHS must be 5 whole numbers >= 1"),
    ("split", {FEATURES: []}, "OUT_FEATURES must be a list of names"),
    ("split", {FEATURES: "decoder1"}, "OUT_FEATURES must be a list of names, such as .'decoder1'., got 'decoder1'"),
    ("split", {FEATURES: ["decoder1"] * 2}, "OUT_FEATURES names 'decoder1' twice"),
    ("split", {"MODEL.PIXEL_MEAN": [0.0], "MODEL.PIXEL_STD": [1.0]}, "takes images of 3 channels, MODEL.PIXEL_MEAN"),
    ("split", {"MODEL.PIXEL_STD": [0.0, 1.0, 1.0]}, "MODEL.PIXEL_STD must be numbers > 0"),
    ("deeplabv3", {"MODEL.PIXEL_STD": [1.0]}, "PIXEL_MEAN and MODEL.PIXEL_STD must have as many numbers"),
    ("deeplabv3", {f"{DEPTH}ASPP_RATES": [True]}, "ASPP_RATES must be a list of whole numbers >= 1"),
    ("deeplabv3", {f"{DEPTH}NORM": "GN"}, "an ASPP with NORM 'GN' needs more than 8 channels, got 8"),
]


def set_in(cfg, keys):
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("no_data_are_read",)
    for key, value in keys.items():
        *path, name = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        node[name] = value
    return cfg


@pytest.mark.parametrize(("network", "keys", "said"), MISTAKES)
def test_a_mistake_is_one_line(network, keys, said):
    with pytest.raises(ConfigError, match=said) as raised:
        check_mtl_config(set_in(small_dense_cfg(network), keys))
    assert len(str(raised.value).splitlines()) == 2  # a heading, and it


@pytest.mark.parametrize(
    ("network", "keys"),
    [
        ("mtan", {f"{DEPTH}NORM": "BN"}),
        ("mtan", {f"{DEPTH}NORM": "GN"}),  # the default
        ("deeplabv3", {f"{DEPTH}ASPP_RATES": [6, 12]}),
        ("split", {f"{DEPTH}NORM": "GN"}),
        ("split", {f"{DEPTH}LOSS_SIZE": "map"}),
        ("split", {FEATURES: ["decoder1", "pool5"]}),
        ("deeplabv3", {"MODEL.BACKBONE.FREEZE_AT": 2}),
    ],
)
def test_what_is_followed_is_accepted(network, keys):
    check_mtl_config(set_in(small_dense_cfg(network), keys))


@pytest.mark.parametrize("config_of", [small_cfg, small_rcnn_cfg, small_retinanet_cfg])
def test_a_detector_names_the_head_whose_layers_do_not_fit(config_of):
    cfg = set_in(config_of("detection", "depth"), {f"{DEPTH}LAYERS": "split", f"{DEPTH}IN_FEATURES": ["p4"]})
    with pytest.raises(ConfigError, match=r"MODEL.DEPTH_HEAD of task 'depth': .* which is 16 of 'split' on p4, got 4"):
        MultiTaskTrainer.build_model(cfg)


@pytest.fixture
def own_layers():
    """As many as are registered in a test are gone after it."""
    before = dict(MAP_LAYERS)
    yield
    MAP_LAYERS._obj_map.clear()
    MAP_LAYERS._obj_map.update(before)


@pytest.mark.usefixtures("own_layers")
def test_layers_of_the_page_are_built_and_refuse_what_they_do_not_follow(tmp_path):
    page = Path(__file__).resolve().parents[2].joinpath("docs/dense_networks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "pointwise.py"
    file.write_text(code)
    keys = {"MTL.DATA.MODULES": (str(file),), f"{DEPTH}LAYERS": "pointwise"}
    import_modules(set_in(small_dense_cfg("split"), keys))
    keys[f"{DEPTH}NORM"] = "GN"
    model = MultiTaskTrainer.build_model(set_in(small_dense_cfg("split"), keys))
    assert type(model.depth_head.layers).__name__ == "Pointwise"
    with pytest.raises(ConfigError, match=r"ASPP_RATES is .6., which LAYERS 'pointwise' do not follow"):
        check_mtl_config(set_in(small_dense_cfg("split"), {**keys, f"{DEPTH}ASPP_RATES": [6]}))


@pytest.mark.usefixtures("own_layers")
@pytest.mark.parametrize(
    ("attributes", "said"),
    [((), "no 'in_features' and no 'common_stride'"), (("in_features", "common_stride"), "no 'predictor'")],
)
def test_layers_of_ones_own_are_told_what_they_lack(attributes, said):
    @map_layers("bare")
    def build(options, shapes, channels):
        layers = nn.Identity()
        for name in attributes:
            setattr(layers, name, {"in_features": ("decoder1",), "common_stride": 1}[name])
        return layers

    with pytest.raises(ConfigError, match=f"MODEL.DEPTH_HEAD of task 'depth': what LAYERS 'bare' build.* has {said}"):
        check_mtl_config(set_in(small_dense_cfg("split"), {f"{DEPTH}LAYERS": "bare"}))
