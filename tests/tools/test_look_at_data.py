"""The tool that looks at data, in this process: mistakes are one line, and the status says what came of it."""

import importlib.util
from pathlib import Path

import pytest

from mtl_d2.config import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("look_at_data", REPOSITORY / "tools" / "look_at_data.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

CONFIG = str(REPOSITORY / "configs" / "sample_scenes_equal.yaml")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def refused(*words):
    with pytest.raises(ConfigError) as error:
        tool.prepare(tool.parse(["--config-file", CONFIG, *words]))
    return str(error.value)


def test_numbers_below_1_are_refused():
    assert refused("--samples", "0") == "--samples must be at least 1, got 0"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refused("--output", str(tmp_path / "file")).endswith("is no folder: name another, or move the file away")


def test_keys_that_are_none_are_refused():
    assert "SOLVER.IMS_PER_BATHC" in refused("SOLVER.IMS_PER_BATHC", "4")


def test_data_that_are_not_there_are_said_on_the_page_and_by_the_status(tmp_path, monkeypatch, capsys, forgotten):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    words = ["--config-file", CONFIG, "--output", str(tmp_path / "page")]
    assert tool.main(tool.parse(words)) == 1
    said = capsys.readouterr().out
    assert "a training would not begin" in said
    assert "nowhere" in said
    assert said.splitlines()[-1] == str(tmp_path / "page" / "data.html")
    assert "nowhere" in (tmp_path / "page" / "data.html").read_text()
