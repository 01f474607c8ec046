"""tools/gpu_check.py: every block on its own, figures kept, and a second call that goes on."""

import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import gpu_check


@pytest.fixture
def blocks(monkeypatch):
    """Two blocks in the place of the real ones: one whose figures are its answer, and one that fails."""
    write = "import json, sys; json.dump({'s': 1.5}, open(sys.argv[1], 'w')); print('measured')"
    fail = "raise SystemExit('no such kernel')"
    found = {
        "good": gpu_check.Block("figures", ("-c", write, "{folder}/figures.json")),
        "bad": gpu_check.Block("none", ("-c", fail)),
        "endless": gpu_check.Block("none", ("-c", "import time; time.sleep(60)"), seconds=1),
        "no data": gpu_check.Block("none", ("-c", fail), data="nowhere"),
    }
    monkeypatch.setattr(gpu_check, "BLOCKS", found)


def run(file, *names):
    status = gpu_check.main(["--device", "cpu", "--smoke", "--json", str(file), "--only", *names])
    return status, json.loads(file.read_text())["blocks"]


def test_a_block_that_fails_or_does_not_end_costs_itself_alone(blocks, tmp_path):
    status, found = run(tmp_path / "f.json", "endless", "bad", "good")
    assert status == 1
    assert found["endless"]["status"] is None
    assert found["bad"]["status"] == 1
    assert "no such kernel" in found["bad"]["output"]
    assert found["good"]["figures"] == {"s": 1.5}


def test_what_is_known_is_not_measured_again(blocks, tmp_path, capsys):
    run(tmp_path / "f.json", "good")
    capsys.readouterr()
    status, found = run(tmp_path / "f.json", "good", "bad")
    assert (status, set(found)) == (1, {"good", "bad"})
    assert "measured" not in capsys.readouterr().out


def test_a_block_without_its_data_is_left_out_in_a_line(blocks, tmp_path, capsys):
    status, found = run(tmp_path / "f.json", "no data", "good")
    assert (status, set(found)) == (0, {"good"})
    assert "left out, " in capsys.readouterr().out


def test_a_training_is_measured_on_the_device_asked_for(monkeypatch):
    monkeypatch.setattr(gpu_check.subprocess, "run", lambda command, **_: CompletedProcess(command, 0, ""))
    for smoke in (False, True):
        command = gpu_check.run(gpu_check.BLOCKS["multi mnist"], smoke, "meta", 1)["command"]
        assert "MODEL.DEVICE meta" in command


@pytest.mark.slow
def test_every_block_runs_to_its_end_on_a_cpu(tmp_path):
    status = gpu_check.main(["--device", "cpu", "--smoke", "--json", str(tmp_path / "f.json")])
    blocks = json.loads((tmp_path / "f.json").read_text())["blocks"]
    wanted = [name for name, block in gpu_check.BLOCKS.items() if gpu_check.has_data(block)]
    assert {name: block["status"] for name, block in blocks.items()} == dict.fromkeys(wanted, 0)
    assert status == 0
