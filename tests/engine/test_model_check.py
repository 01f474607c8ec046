"""What is refused once the model is there: a last shared layer that is none, and SyncBN that cannot do its work."""

import pytest
import torch
from detectron2.modeling import build_model
from small import small_cfg, small_rcnn_cfg

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.model_check import check_model

LEVEL = ["MTL.GRADIENT.AGGREGATOR", "mgda", "MTL.GRADIENT.LEVEL", "last_layer"]
GRADNORM = ["MTL.SCALARIZATION.NAME", "gradnorm"]
COSREG = ["MTL.REGULARIZER.NAME", "cosreg"]
APART = ["MODEL.FCOS.IN_FEATURES", ["p3", "p4"], "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["p2"]]
USERS = {"LEVEL 'last_layer'": LEVEL, "gradnorm": GRADNORM, "cosreg": COSREG}


def checked(*overrides, cfg=None, freeze=(), fpn=True):
    """The complaint about a small model with parts of it frozen, or with other names than a pyramid has."""
    cfg = cfg or small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.merge_from_list([x for one in overrides for x in one])
    check_mtl_config(cfg)
    try:
        model = build_model(cfg).train()
    except ValueError as error:
        return str(error)
    for name in freeze:
        model.get_submodule(name).requires_grad_(False)
    if not fpn:  # a trunk that names its output convolutions otherwise
        del model.backbone.fpn_output3, model.backbone.fpn_output4
        model.backbone.output3, model.backbone.output4 = model.backbone.output_convs[1::-1]
    before = {name: (value.clone(), value.requires_grad) for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    try:
        check_model(model, build_balancer(cfg), cfg)
    except ConfigError as error:
        lines = str(error).splitlines()[1:]
        assert len(lines) == 1, lines
        return lines[0]
    finally:
        assert all(torch.equal(value, before[name][0]) for name, value in model.state_dict().items())
        assert modes == [module.training for module in model.modules()]
    return ""


@pytest.mark.parametrize("user", USERS)
def test_tasks_that_share_no_level_are_told_to_name_a_layer(user):
    said = checked(USERS[user], APART)
    assert user in said
    assert "no pyramid level that two tasks look at has an output convolution" in said
    # res2 to res4 feed the levels from the top; the last that both depend on is the lateral convolution of p3
    assert "name a module in MTL.LAST_SHARED_LAYER that all tasks reach: 'backbone.fpn_lateral3', " in said
    assert not checked(USERS[user], APART, ["MTL.LAST_SHARED_LAYER", ("backbone.fpn_lateral3",)])


@pytest.mark.parametrize("user", USERS)
def test_trunk_without_output_convolutions_of_the_usual_name(user):
    said = checked(USERS[user], fpn=False)
    assert "has an output convolution" in said
    assert "'backbone.output3'" in said
    assert not checked(USERS[user], ["MTL.LAST_SHARED_LAYER", ("backbone.output3",)], fpn=False)


@pytest.mark.parametrize("user", USERS)
def test_frozen_layer_is_named(user):
    frozen = ("backbone.fpn_output3", "backbone.fpn_output4")
    said = checked(USERS[user], freeze=frozen)
    assert "but backbone.fpn_output3, " in said
    assert " is frozen; name a module in MTL.LAST_SHARED_LAYER" in said
    assert not checked(USERS[user], freeze=frozen[:1])  # the other one moves, and both tasks reach it


def test_frozen_trunk_has_nothing_to_offer():
    assert "the tasks share no parameter that moves" in checked(LEVEL, freeze=("backbone",))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("backbone.fpn_outptu3", "has no module 'backbone.fpn_outptu3'; did you mean 'backbone.fpn_output3'"),
        ("backbone.fpn_output3.weight", "has no module 'backbone.fpn_output3.weight'; did you mean"),
        ("", "has no module ''"),
        ("head.cls_subnet", "module 'head.cls_subnet' belongs to the head of task detection"),
        ("sem_seg_head", "module 'sem_seg_head' belongs to the head of task semantic"),
        ("anchor_generator", "module 'anchor_generator' has no parameters"),
    ],
)
def test_names_that_are_no_shared_layer(name, complaint):
    assert complaint in checked(["MTL.LAST_SHARED_LAYER", (name,)])  # whether something looks at it or not


def test_layer_that_one_task_does_not_reach():
    said = checked(LEVEL, ["MTL.LAST_SHARED_LAYER", ("backbone.fpn_output2",)])
    assert "but task detection does not reach backbone.fpn_output2; name a module" in said
    assert not checked(LEVEL, ["MTL.LAST_SHARED_LAYER", ("backbone.fpn_output2", "backbone.fpn_output3")])


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("cfg", [small_cfg, small_rcnn_cfg])
def test_usual_models_have_a_last_shared_layer(user, cfg):
    finite = ["MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD", "finite"]
    assert not checked(USERS[user], finite, cfg=cfg())


def test_one_task_alone_has_the_layer_of_its_levels():
    assert not checked(LEVEL, cfg=small_cfg("detection"))


def test_layers_that_nobody_looks_at_may_be_anything():
    assert not checked(APART, freeze=("backbone",))
    assert not checked(APART, ["MTL.GRADIENT.AGGREGATOR", "sum", "MTL.GRADIENT.LEVEL", "last_layer"])


def test_level_features_without_a_common_level():
    level = ["MTL.GRADIENT.AGGREGATOR", "mgda", "MTL.GRADIENT.LEVEL", "features"]
    assert "task detection, semantic shares none with another" in checked(level, APART)
    assert not checked(level)


NAIVE = ["MODEL.FPN.NORM", "naiveSyncBN_N", "MODEL.SEM_SEG_HEAD.NORM", "naiveSyncBN_N"]


def test_sync_batch_norm_that_cannot_work_on_two_processes(monkeypatch):
    assert not checked(["MODEL.FPN.NORM", "SyncBN"], COSREG)  # one process: batch norm
    monkeypatch.setattr("mtl_d2.engine.model_check.comm.get_world_size", lambda: 2)
    assert not checked(NAIVE)
    assert "torch's SyncBN (backbone.fpn_lateral2.norm, ...), which does not run on MODEL.DEVICE 'cpu'" in checked(
        ["MODEL.FPN.NORM", "SyncBN"]
    )
    assert "take 'naiveSyncBN_N'" in checked(["MODEL.SEM_SEG_HEAD.NORM", "naiveSyncBN"])
    assert not checked(["MODEL.FPN.NORM", "naiveSyncBN"])  # every process has as many images
    assert "set MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD to 'finite'" in checked(NAIVE, COSREG)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("MODEL.FPN.NORM", "GNX", "(KeyError: 'GNX'): look at MODEL.FPN.NORM 'GNX'"),
        ("MODEL.FPN.IN_FEATURES", ["res3", "res9"], "there is no map res9; there are res1"),
        ("MODEL.FPN.OUT_CHANNELS", 17, "look at MODEL.FPN.OUT_CHANNELS 17"),
        ("MODEL.FPN.FUSE_TYPE", "product", "(AssertionError: assert fuse_type in"),
        ("MODEL.BACKBONE.NAME", "build_regnet", "look at MODEL.BACKBONE.NAME 'build_regnet'"),
    ],
)
def test_model_that_cannot_be_built_names_the_keys(key, value, said):
    cfg = small_cfg()
    cfg.MODEL.FPN.NORM = "GN"
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError) as found:
        MultiTaskTrainer.build_model(cfg)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("IN_FEATURES", ["p3", "p33"], "MODEL.SEM_SEG_HEAD.IN_FEATURES is 'p33', which is none of 'p2', 'p3', "),
        ("COMMON_STRIDE", 5, "MODEL.SEM_SEG_HEAD.COMMON_STRIDE must be 8, the stride of the finest of"),
        ("COMMON_STRIDE", 16, "or a half, a quarter, ... of it, got 16"),
        ("COMMON_STRIDE", 4, ""),
    ],
)
def test_levels_and_stride_of_the_semantic_head(key, value, said):
    cfg = small_cfg()
    cfg.merge_from_list(["MODEL.SEM_SEG_HEAD.IN_FEATURES", ["p3", "p4"], f"MODEL.SEM_SEG_HEAD.{key}", value])
    complaint = checked(cfg=cfg)
    assert said in complaint
    assert bool(said) == bool(complaint)
