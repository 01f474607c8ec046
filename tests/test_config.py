from pathlib import Path

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.modeling import build_model

import mtl_d2.modeling  # noqa: F401
from mtl_d2.balancing.registry import AGGREGATORS, ROW_SCALINGS, STEPS, WEIGHTINGS
from mtl_d2.config import ConfigError, add_mtl_config, build_setup, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.resume import changes

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


def merged(name, *overrides):
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(CONFIGS / name) if name else "", list(overrides))
    return cfg


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_sound_and_builds(path):
    cfg = merged(path.name, "MODEL.DEVICE", "cpu")
    cfg.DATASETS.TRAIN = cfg.DATASETS.TRAIN or ("a leaf's",)  # a base may leave them open
    check_mtl_config(cfg)
    model = build_model(cfg)
    assert tuple(task.name for task in model.tasks) == tuple(cfg.MTL.TASKS)
    build_balancer(cfg)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    if not path.stem.startswith("Base"):
        assert len(lines) <= 25
        assert any(f"--config-file configs/{path.name}" in line for line in lines), "no command"


def test_bdd100k_config_has_the_papers_settings():
    cfg = merged("bdd100k_mclgs.yaml")
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.WARMUP_ITERS, solver.NESTEROV) == (16, 0.01, 500, True)
    epoch = 77000 / 16
    assert round(30 * epoch) == solver.MAX_ITER
    assert tuple(round(e * epoch) for e in (16, 22, 28)) == solver.STEPS
    assert solver.CLIP_GRADIENTS.CLIP_VALUE == 10.0
    assert solver.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
    assert (cfg.MTL.GRADIENT.MCLGS.A0, cfg.MTL.GRADIENT.MCLGS.R_T) == (120.0, 2.0)
    assert build_balancer(cfg).gradient.scaling.delta_a == pytest.approx(4.16e-4, rel=1e-2)


def test_config_that_a_run_of_an_earlier_version_left_is_taken(tmp_path):
    text = merged("").dump() + "\n"
    earlier = text.replace("PER_DATASET: []", "PER_TASK: [4, 4]").replace(
        "MODEL:\n", "MODEL:\n  REGNETS: {DEPTH: 13}\n"
    )
    assert "PER_DATASET" not in earlier
    (tmp_path / "config.yaml").write_text(earlier)
    cfg = merged(tmp_path / "config.yaml")
    assert cfg.MTL.DATA.PER_DATASET == (4, 4)
    assert "REGNETS" not in cfg.MODEL
    assert changes(earlier, cfg) == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MTL.GRADIENT.RESCALLE", "mclgs"], r"no such config key: MTL\.GRADIENT\.RESCALLE \(did you mean"),
        (["MTL.DATA.PER_TASK", "(8, 8)"], r"key: MTL\.DATA\.PER_TASK \(did you mean MTL\.DATA\.PER_DATASET\?\)"),
        (["MTL.GRADIENT.RESCALE"], "odd number of words"),
        (["mtl.gradient.rescale", "mclgs"], r"\(did you mean MTL\.GRADIENT\.RESCALE\?\)"),
        (["SOLVER.BASE_LR=0.1", "MTL.TASKS"], r"got SOLVER\.BASE_LR=0\.1: write SOLVER\.BASE_LR 0\.1$"),
        (
            ["MTL.GRADIENT.MCLGS.A0", "high"],
            r"^MTL\.GRADIENT\.MCLGS\.A0 must be of type float, such as .*; got 'high' of type str$",
        ),
        (["DATASETS.TRAIN", "a_set"], r"^DATASETS\.TRAIN must be of type tuple, such as \('a_set',\); got"),
    ],
)
def test_mistyped_overrides_are_told_with_the_mend(overrides, message):
    with pytest.raises(ConfigError, match=message):
        merged("bdd100k_mclgs.yaml", *overrides)


def test_config_file_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        merged("nowhere.yaml")
    with pytest.raises(ConfigError, match=r"did you mean .*bdd100k_mclgs\.yaml\?"):
        merged("bdd100k_mclg.yaml")


def plain_config_with_the_readmes_lines(folder):
    """A file on top of detectron2's own RetinaNet, whose anchor sizes are Python: the README's way."""
    block = (ROOT / "README.md").read_text().split("```diff\n")[1].split("```")[0]
    lines = [line[1:] for line in block.splitlines() if not line.startswith("-")]
    plain = model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    path = folder / "mine.yaml"
    path.write_text("\n".join([f"_BASE_: {plain}", *lines]))
    return path


def test_a_plain_config_of_detectron2_becomes_a_multi_task_one_as_the_readme_has_it(tmp_path):
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(plain_config_with_the_readmes_lines(tmp_path)), [], allow_unsafe=True)
    check_mtl_config(cfg)
    assert cfg.MODEL.META_ARCHITECTURE == "MultiTaskRetinaNet"
    assert [len(sizes) for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES] == [3] * 5
    assert yaml.safe_load(cfg.dump())["MODEL"]["ANCHOR_GENERATOR"]["SIZES"][0][0] == 32  # what a run leaves is plain
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        assert build_model(cfg).task_levels()["semantic"] == ["p3", "p4", "p5"]  # a RetinaNet's pyramid has no p2


def test_python_in_a_config_is_executed_only_where_it_is_asked_for(tmp_path):
    (tmp_path / "config.yaml").write_text("SEED: !!python/object/apply:eval ['1 + 1']\n")
    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read: could not determine a constructor"):
        merged(tmp_path / "config.yaml")


@pytest.mark.parametrize("text", ["", "- TASKS", "TASKS"])
def test_a_file_without_keys_and_values_is_no_config(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml is empty, or has no KEY: VALUE"):
        merged(tmp_path / "config.yaml")


def test_mistyped_key_in_a_file_is_told_with_its_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("MTL:\n  GRADIENT:\n    AGREGATOR: mean\nSOLVER:\n  BASELR: 0.1\n")
    cfg = get_cfg()
    add_mtl_config(cfg)
    with pytest.raises(ConfigError, match=r"MTL\.GRADIENT\.AGREGATOR \(did you mean .*SOLVER\.BASELR"):
        merge_config(cfg, str(path), [])


@pytest.mark.parametrize("text", ["MTL: {DATA: {CLASSES: [car]}}", "MTL: {DATA: {CLASSES: }}"])
def test_a_value_in_the_place_of_several_options_is_told_in_a_line(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^MTL\.DATA\.CLASSES is no option, but holds several") as told:
        merged(path)
    assert "\n" not in str(told.value)


def test_whole_numbers_stand_for_floats_in_files_and_overrides(tmp_path):
    path = tmp_path / "whole.yaml"
    path.write_text("VERSION: 2\nMTL: {GRADIENT: {NASH_MTL: {MAX_NORM: 0}, MCLGS: {A0: 60}}}\nSOLVER: {BASE_LR: 1}\n")
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(path), ["MTL.GRADIENT.CAGRAD.C", "0", "MTL.GRADIENT.MCLGS.A0", "7", "SOLVER.MAX_ITER", "3"])
    gradient = cfg.MTL.GRADIENT
    found = [gradient.NASH_MTL.MAX_NORM, gradient.MCLGS.A0, cfg.SOLVER.BASE_LR, gradient.CAGRAD.C]
    assert found == [0.0, 7.0, 1.0, 0.0]
    assert all(type(value) is float for value in found)
    assert type(cfg.SOLVER.MAX_ITER) is int
    with pytest.raises(ConfigError, match=r"SOLVER\.MAX_ITER must be of type int.*3\.0"):
        merge_config(cfg, "", ["SOLVER.MAX_ITER", "3.0"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MTL.TASKS", "('detecton',)"], r"MTL\.TASKS is 'detecton'.*did you mean 'detection'"),
        (["MTL.TASKS", "()"], r"MTL\.TASKS is empty"),
        (["MTL.TASKS", "('semantic','semantic')"], "names 'semantic' twice"),
        (["MTL.GRADIENT.MCLGS.DELTA_A", "0.1"], "exactly one of R_T and DELTA_A"),
        (["MTL.GRADIENT.RESCALE", "mclg"], "did you mean 'mclgs'"),
        (["MTL.GRADIENT.SCALE", "double"], r"MTL\.GRADIENT\.SCALE is 'double'"),
        (["MTL.GRADIENT.SMOOTH", "1.0"], r"MTL\.GRADIENT\.SMOOTH must be in \[0, 1\), got 1\.0"),
        (
            ["MTL.GRADIENT.SMOOTH", "0.5", "MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "graddrop"],
            r"MTL\.GRADIENT\.SMOOTH does nothing with 'graddrop'",
        ),
        (["MTL.SCALARIZATION.NAME", "stch", "MTL.SCALARIZATION.MEAN", "log"], r"MEAN 'log' is undefined with 'stch'"),
        (["MTL.GRADIENT.AGGREGATOR", "pcd", "MTL.GRADIENT.PCD.PRIMARY", "pose"], r"PRIMARY must be one of MTL\.TASKS"),
        (["MTL.GRADIENT.AGGREGATOR", "pivrg"], r"MTL\.GRADIENT\.PIVRG: METRICS needs a metric"),
        (["MTL.GRADIENT.EXACT_EVERY", "-1"], r"EXACT_EVERY must be at least 1, or 0 for never, got -1"),
        (["MTL.STEP.NAME", "jump"], r"MTL\.STEP\.NAME is 'jump'.*'joint'"),
        (["MTL.ALLOCATION.NAME", "some"], r"MTL\.ALLOCATION\.NAME is 'some'"),
        (["MTL.ALLOCATION.NAME", "sta", "MTL.ALLOCATION.STA.K", "3"], r"ALLOCATION\.STA: K must be .* 2; got 3"),
        (["MTL.SCALARIZATION.FIXED.WEIGHTS", "(1.0,)"], "one number for each of the 2 tasks"),
        (["MTL.DATA.PER_DATASET", "(16,)"], r"one number for each of DATASETS\.TRAIN"),
        (["MTL.DATA.PER_DATASET", "(8, 9)"], r"add up to SOLVER\.IMS_PER_BATCH 16"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "all"], "is none of 'value', 'norm', 'full_model'"),
        (["MTL.AMP_DTYPE", "half"], r"MTL\.AMP_DTYPE is .half., which is none of .float16., .bfloat16."),
        (["MTL.ACCUMULATE", "0"], r"MTL\.ACCUMULATE must be at least 1, got 0"),
        (["MODEL.SEM_SEG_HEAD.LOSS_WEIGHT", "0.5"], "leave it at 1.0"),
        (["MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead"], "SemSegFPNDiceHead"),
        (["DATASETS.TRAIN", "()"], r"DATASETS\.TRAIN is empty"),
    ],
)
def test_contradictions_are_told_with_the_mend(overrides, message):
    cfg = merged("bdd100k_mclgs.yaml", *overrides)
    with pytest.raises(ConfigError, match=message):
        check_mtl_config(cfg)


def test_all_mistakes_are_told_at_once():
    cfg = merged("bdd100k_mclgs.yaml", "MTL.STEP.NAME", "jump", "SOLVER.MAX_ITER", "0", "MTL.TASKS", "('x',)")
    with pytest.raises(ConfigError) as error:
        check_mtl_config(cfg)
    assert str(error.value).count("\n") >= 3


def test_every_option_of_a_method_is_explained_and_has_a_config_key():
    cfg = merged("")
    for node, registry in [
        (cfg.MTL.ALLOCATION, ALLOCATIONS),
        (cfg.MTL.SCALARIZATION, WEIGHTINGS),
        (cfg.MTL.GRADIENT, ROW_SCALINGS),
        (cfg.MTL.GRADIENT, AGGREGATORS),
        (cfg.MTL.STEP, STEPS),
    ]:
        for name, method in registry:
            for key, option in method.options.items():
                assert option.help, (name, key)
                assert node[name.upper()][key.upper()] == option.default


def test_importing_and_adding_keys_leaves_detectron2s_defaults_alone():
    assert "MTL" not in get_cfg()


def test_methods_are_told_which_metrics_are_errors():
    higher = build_setup(merged("")).higher_is_better
    names = ("depth/abs_err", "normals_indoor/mean_angle", "bbox/AP", "own/unknown")
    assert [higher(name) for name in names] == [False, False, True, None]
