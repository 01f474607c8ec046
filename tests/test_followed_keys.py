"""Keys of detectron2 that have no effect here are refused; counts follow the number of processes together."""

from pathlib import Path

import pytest
from detectron2.config import get_cfg

import mtl_d2.modeling  # noqa: F401
from mtl_d2 import processes
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_checks.followed import NOT_FOLLOWED
from mtl_d2.config_scaling import follow_processes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def merged(*overrides, name="bdd100k_mclgs.yaml"):
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(CONFIGS / name), [])
    cfg.merge_from_list(list(overrides))
    return cfg


def test_table_names_keys_that_there_are():
    cfg = get_cfg()
    for key in NOT_FOLLOWED:
        node = cfg
        for part in filter(None, key.split(".")):
            node = node[part]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("VIS_PERIOD", 10, "VIS_PERIOD is 10, which is not followed: the report has pictures"),
        ("TEST.PRECISE_BN.ENABLED", True, r"PRECISE_BN\.ENABLED is True, which is not followed.*leave it at False"),
        ("TEST.KEYPOINT_OKS_SIGMAS", [0.1], "no task of keypoints"),
        ("MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT", 4.0, "no task of keypoints"),
        ("MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT", 2.0, r"MTL\.SCALARIZATION"),
        ("DATASETS.PROPOSAL_FILES_TRAIN", ("a",), "proposals are made in training"),
        ("GLOBAL.HACK", 2.0, "nothing reads it"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSample", "did you mean 'RepeatFactorTrainingSampler'"),
        ("DATALOADER.REPEAT_THRESHOLD", 0.1, "does not follow: set it to 0.0, or the sampler"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", r"REPEAT_THRESHOLD must be a share .* got 0.0"),
        ("INPUT.RANDOM_FLIP", "both", "none of 'horizontal', 'vertical', 'none'"),
        ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", 1.0, "takes the Euclidean norm"),
        ("MTL.OPTIMIZER", "adam", r"SOLVER\.NESTEROV is True, which MTL.OPTIMIZER 'adam' does not follow"),
        ("SOLVER.CHECKPOINT_PERIOD", 0, r"SOLVER\.CHECKPOINT_PERIOD must be at least 1, got 0"),
    ],
)
def test_key_that_would_have_no_effect_is_refused_by_name(key, value, said):
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(merged(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.RANDOM_FLIP", "none"),
        ("DATALOADER.ASPECT_RATIO_GROUPING", False),
        ("CUDNN_BENCHMARK", True),
        ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"),
        ("MODEL.RPN.NMS_THRESH", 0.5),
    ],
)
def test_key_that_is_followed_or_of_another_model_is_let_be(key, value):
    check_mtl_config(merged(key, value))


@pytest.mark.parametrize("key", ["INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", "DATALOADER.SAMPLER_TRIAN"])
def test_key_of_one_of_detectron2s_projects_is_none(key):
    with pytest.raises(ConfigError, match="no such config key"):
        merge_config(merged(), str(CONFIGS / "bdd100k_mclgs.yaml"), [key, "1.0"])


def test_crop_that_cannot_be_cut_is_said():
    cfg = merged("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [300, 300])
    with pytest.raises(ConfigError, match=r"INPUT\.CROP\.SIZE must be shares in \(0, 1\]"):
        check_mtl_config(cfg)


def scaled(processes, *overrides):
    cfg = merged(
        *("SOLVER.IMS_PER_BATCH", 16, "SOLVER.REFERENCE_WORLD_SIZE", 8, "MTL.DATA.PER_DATASET", (8, 8)),
        *("SOLVER.MAX_ITER", 800, "SOLVER.STEPS", (400,), "SOLVER.CHECKPOINT_PERIOD", 80, "TEST.EVAL_PERIOD", 40),
        *("MTL.LOG_PERIOD", 20, "MTL.CHECK_REPLICAS", 0, "MTL.GRADIENT.EXACT_EVERY", 5, *overrides),
    )
    return follow_processes(cfg, processes)


def test_everything_that_counts_updates_or_samples_follows_the_processes():
    cfg = scaled(2, "MTL.GRADIENT.MCLGS.EVERY", 3, "MTL.SCALARIZATION.DWA.PERIOD", 400)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.MTL.DATA.PER_DATASET) == (4, (2, 2))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.CHECKPOINT_PERIOD) == (3200, (1600,), 320)
    assert (cfg.TEST.EVAL_PERIOD, cfg.MTL.LOG_PERIOD, cfg.MTL.GRADIENT.EXACT_EVERY) == (160, 80, 20)
    assert (cfg.MTL.GRADIENT.MCLGS.EVERY, cfg.MTL.SCALARIZATION.DWA.PERIOD) == (12, 1600)
    assert cfg.MTL.CHECK_REPLICAS == 0
    assert cfg.MTL.GRADIENT.PARETO.INIT_UPDATES is None
    check_mtl_config(cfg)


def test_period_stays_at_one_update_where_it_would_round_to_none():
    cfg = scaled(64, "TEST.EVAL_PERIOD", 2)
    assert (cfg.TEST.EVAL_PERIOD, cfg.MTL.LOG_PERIOD, cfg.MTL.GRADIENT.EXACT_EVERY) == (1, 2, 1)
    assert scaled(64, "TEST.EVAL_PERIOD", 0).TEST.EVAL_PERIOD == 0


def test_step_that_is_rounded_to_the_end_of_the_training_is_none():
    cfg = scaled(16, "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (2, 3))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (2, (1,))
    check_mtl_config(cfg)


@pytest.mark.parametrize(("a0", "delta", "ratio"), [(120.0, 0.1, 0.99)])
def test_pacing_reaches_the_same_value_after_the_same_samples(a0, delta, ratio):
    node = scaled(4, "MTL.GRADIENT.MCLGS.DELTA_A", delta, "MTL.GRADIENT.MCLGS.R_A", ratio).MTL.GRADIENT.MCLGS
    assert a0 - 200 * node.DELTA_A == pytest.approx(a0 - 100 * delta)
    assert pytest.approx(ratio**100) == node.R_A**200


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["MTL.DATA.PER_DATASET", (10, 6)],
            r"PER_DATASET \(10, 6\) is meant for 8 processes .* and cannot be had for 1",
        ),
        (["SOLVER.REFERENCE_WORLD_SIZE", 3], "must divide SOLVER.IMS_PER_BATCH 16"),
        (["SOLVER.REFERENCE_WORLD_SIZE", -1], "got -1"),
        (
            ["MTL.DATA.PER_DATASET", (8, 0)],
            r"PER_DATASET \(1, 0\) must be counts >= 1 that add up to SOLVER.IMS_PER_BATCH 2",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused_after_scaling(overrides, said):
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(scaled(1, *overrides))


def test_processes_are_counted_before_they_have_met(monkeypatch):
    assert processes.number_of_processes() == 1
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes.number_of_processes() == 4
