"""The worked example of docs/adding_a_model.md."""

import re
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from small import sample, small_cfg

from mtl_d2 import options
from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "docs/examples/new_trunk.py"


@pytest.fixture
def page(tmp_path):
    """The config that the page shows, with the example's path; what the example registers is forgotten afterwards."""
    block, *_ = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/adding_a_model.md").read_text(), re.DOTALL)
    (tmp_path / "own.yaml").write_text("VERSION: 2\n" + block.replace("new_trunk.py", str(EXAMPLE)))
    yield str(tmp_path / "own.yaml")
    BACKBONE_REGISTRY._obj_map.pop("build_octave_backbone", None)
    options._DECLARED.pop("MODEL.OCTAVE", None)
    for key, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str(EXAMPLE):
            del sys.modules[key]


def merged(page, *overrides):
    cfg = small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    merge_config(cfg, page, list(overrides))
    return cfg


def test_the_page_s_config_builds_a_model_that_trains(page):
    cfg = merged(page)
    check_mtl_config(cfg)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    assert tuple(model.last_shared_parameters()[0].shape) == (16, 16, 3, 3)
    assert {len(names) > 0 for names in model.reached_parameters().values()} == {True}
    oracle = Oracle(model)
    oracle.load([sample("detection"), sample("semantic")])
    gradients = oracle.gradients()
    assert all(sum(g.abs().sum() for g in row if g is not None) > 0 for row in gradients.rows)


def test_keys_of_the_example_exist_with_their_defaults_once_the_file_is_named(page):
    cfg = get_cfg()
    add_mtl_config(cfg)
    assert "OCTAVE" not in cfg.MODEL
    merge_config(cfg, "", ["MTL.DATA.MODULES", f"['{EXAMPLE}']"])
    assert (cfg.MODEL.OCTAVE.CHANNELS, cfg.MODEL.OCTAVE.LEVELS) == (32, ("p2", "p3"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("MODEL.OCTAVE.CHANNELS", "0", r"MODEL\.OCTAVE\.CHANNELS must be a whole number >= 1, got 0"),
        ("MODEL.OCTAVE.LEVELS", "('q2',)", r"MODEL\.OCTAVE\.LEVELS must be levels such as 'p2', got \('q2',\)"),
        ("MODEL.OCTAVE.CHANELS", "8", r"did you mean MODEL\.OCTAVE\.CHANNELS"),
    ],
)
def test_wrong_values_and_names_are_said(page, key, value, said):
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(merged(page, key, value))
