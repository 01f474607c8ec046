"""The worked example of docs/adding_a_method.md, and that the documents know every method."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from toy import batch, context, setup, toy

import mtl_d2.modeling  # noqa: F401
from mtl_d2.balancing import Oracle
from mtl_d2.balancing.registry import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.engine.build import build_balancer

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "docs/examples/new_method.py"
REGISTRIES = (WEIGHTINGS, ROW_SCALINGS, AGGREGATORS, REGULARIZERS, STEPS, ALLOCATIONS)
TASKS = ("detection", "semantic")


@pytest.fixture
def shorten():
    """The example's class, registered for the time of a test."""
    spec = importlib.util.spec_from_file_location("new_method", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.Shorten
    ROW_SCALINGS._obj_map.pop("shorten")


def configured(*overrides):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNDiceHead"
    cfg.MTL.GRADIENT.AGGREGATOR = "mean"
    cfg.MTL.GRADIENT.RESCALE = "shorten"
    cfg.merge_from_list(list(overrides))
    return cfg


def alpha(shorten, length, *norms, present=None):
    gramian = torch.diag(torch.tensor(norms, dtype=torch.float64) ** 2)
    return shorten(setup(len(norms)), length)(gramian, context(len(norms), present)).tolist()


def test_example_shortens_what_is_too_long(shorten):
    assert alpha(shorten, 1.0, 0.5, 1.0, 4.0) == pytest.approx([1, 1, 0.25])


def test_example_leaves_absent_tasks_and_zero_gradients_alone(shorten):
    assert alpha(shorten, 1.0, 2.0, 4.0, present=[True, False]) == pytest.approx([0.5, 1])
    assert alpha(shorten, 1e-3, 0.0, 1e12) == pytest.approx([1, 1e-15])


def test_example_has_its_options_in_the_config_and_their_check(shorten):
    check_mtl_config(configured("MTL.GRADIENT.SHORTEN.LENGTH", "2.0"))
    with pytest.raises(ConfigError, match=r"MTL\.GRADIENT\.SHORTEN\.LENGTH must be a finite number > 0, got 0"):
        check_mtl_config(configured("MTL.GRADIENT.SHORTEN.LENGTH", "0.0"))


def test_example_trains(shorten):
    model = toy(2)
    balancer = build_balancer(configured("MTL.GRADIENT.SHORTEN.LENGTH", "0.1")).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    oracle = Oracle(model)
    for update in range(2):
        before = torch.cat([p.detach().clone().flatten() for p in oracle.shared])
        oracle.load(batch(*[TASKS] * 4, seed=update), update)
        result = balancer(oracle, update, optimizer.step)
        norms = result.gramian.diagonal().sqrt()
        assert norms.min() > 0.1
        torch.testing.assert_close(result.weights.shared, 0.1 / norms / 2)
        moved = (torch.cat([p.detach().flatten() for p in oracle.shared]) - before).norm()
        G = result.gramian / norms[:, None] / norms
        torch.testing.assert_close(moved, 0.05 * 0.1 / 2 * G.sum().sqrt())


@pytest.fixture
def own_file():
    """The name of the example's file; what it registers is forgotten after the test, and so is the file."""
    yield str(EXAMPLE)
    ROW_SCALINGS._obj_map.pop("shorten")
    for key, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str(EXAMPLE):
            del sys.modules[key]


@pytest.mark.parametrize("place", ["file", "override"])
def test_a_file_named_in_the_config_adds_its_method_and_its_keys(own_file, tmp_path, place):
    config = tmp_path / "own.yaml"
    named = f"MTL: {{DATA: {{MODULES: ['{own_file}']}}}}\n" if place == "file" else ""
    config.write_text(named or "VERSION: 2\n")
    overrides = [] if named else ["MTL.DATA.MODULES", f"['{own_file}']"]
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(
        cfg, str(config), [*overrides, "MTL.GRADIENT.RESCALE", "shorten", "MTL.GRADIENT.SHORTEN.LENGTH", "3.0"]
    )
    assert build_balancer(cfg).gradient.scaling.length == 3.0


def test_a_wrong_option_of_an_own_method_is_named(own_file):
    cfg = configured()
    overrides = ["MTL.DATA.MODULES", f"['{own_file}']", "MTL.GRADIENT.SHORTEN.LENGHT", "3.0"]
    with pytest.raises(ConfigError, match=r"did you mean MTL.GRADIENT.SHORTEN.LENGTH"):
        merge_config(cfg, "", overrides)


def test_the_page_names_a_config_that_works(own_file, tmp_path):
    page = (REPOSITORY / "docs/adding_a_method.md").read_text()
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "new_method.py" in block]
    config = tmp_path / "own.yaml"
    config.write_text(block.replace("new_method.py", own_file))
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(config), [])
    assert type(build_balancer(cfg).gradient.scaling).__name__ == "Shorten"


def methods():
    return [(name, method) for registry in REGISTRIES for name, method in registry]


def readme_table():
    return (REPOSITORY / "README.md").read_text().split("\n## Methods\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", [name for name, _ in methods()])
def test_every_method_is_in_the_readme(name):
    rows = [line for line in readme_table().splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row for row in rows), f"name {name!r} in the table of README.md"


@pytest.mark.parametrize("name", [name for name, _ in methods()])
def test_every_method_is_documented(name):
    lines = (REPOSITORY / "docs/methods.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"docs/methods.md needs one row that begins with | `{name}` |"


@pytest.mark.parametrize(("name", "method"), methods(), ids=[name for name, _ in methods()])
def test_every_papers_method_names_its_authors_and_a_link(name, method):
    said = method.__doc__
    assert "Differs from:" in said
    paper = said.partition("Paper:")[2].partition("Differs from:")[0]
    if paper and name != "mclgs":  # of which there is no page
        assert "https://" in paper, name
        assert " and " in paper.partition("https://")[0], name
