"""A search of fixed weights as a user makes one, with real trainings of a classifier of bars."""

import json
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = REPOSITORY / "tests" / "engine"
sys.path[:0] = [str(REPOSITORY / "tools"), str(ENGINE)]

import compare  # noqa: E402
from bars import TASKS, bars_cfg  # noqa: E402

from mtl_d2.comparison.errors import ComparisonError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
DATA = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from bars import bars_cfg
bars_cfg(Path({scratch!r}))
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a comparison file of one search, two seeds and twelve updates a run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "data.py").write_text(DATA.format(folder=str(ENGINE), scratch=str(tmp_path / "scratch")))
    cfg = bars_cfg(tmp_path / "scratch")
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    cfg.MTL.DATA.VALIDATION_SHARE, cfg.MTL.DATA.MODULES = 0.3, (str(tmp_path / "data.py"),)
    (tmp_path / "base.yaml").write_text(cfg.dump())

    def to_file(**search):
        search = {"weights": {TASKS[0]: [0.1, 10.0]}, "by": "halving", "candidates": 2, "budget": 30, **search}
        content = {"base": "base.yaml", "output": str(tmp_path / "out"), "seeds": [1, 2]}
        content["searches"] = {"searched": {"select": "accuracy/harmonic_mean", **search}}
        (tmp_path / "file.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "file.yaml")

    return to_file


def test_the_worse_half_stops_and_the_winner_is_trained_with_all_seeds_within_the_budget(write, tmp_path, capsys):
    file, folder = write(), tmp_path / "out" / "searched"
    assert compare.main(compare.parse([file, "--jobs", "2"])) == 0
    told = json.loads((folder / "search.json").read_text())
    held_out = [json.loads((folder / "trials" / name / "held_out.json").read_text()) for name in ("1", "2")]
    values = [seen["6"]["accuracy"]["harmonic_mean"] for seen in held_out]
    winner = values.index(max(values))
    assert told["winner"] == str(winner + 1)
    assert [list(seen) for seen in (held_out[winner], held_out[1 - winner])] == [["6", "12"], ["6"]]
    assert [trial["updates"] for trial in told["trials"]] == ([12, 6] if winner == 0 else [6, 12])
    weights = yaml.safe_load((folder / "2" / "config.yaml").read_text())["MTL"]["SCALARIZATION"]["FIXED"]["WEIGHTS"]
    assert weights == told["trials"][winner]["weights"]
    assert not (folder / "1").exists()  # that run is the trial
    assert (
        "18 updates of trials and 12 of the winner's other runs, together 30, of a budget of 30"
        in (tmp_path / "out" / "comparison.md").read_text()
    )
    logs = {path: path.stat().st_mtime_ns for path in folder.glob("**/console.log")}
    assert len(logs) == 3
    capsys.readouterr()
    assert compare.main(compare.parse([file])) == 0
    assert "2 finished runs" in capsys.readouterr().out
    assert logs == {path: path.stat().st_mtime_ns for path in folder.glob("**/console.log")}


def test_what_the_held_out_images_do_not_give_is_told_before_anything_runs(write, tmp_path):
    with pytest.raises(ComparisonError, match="searched: select: 'accuracy/AP' is no metric of the images held out"):
        compare.main(compare.parse([write(select="accuracy/AP")]))
    assert not (tmp_path / "out").exists()
