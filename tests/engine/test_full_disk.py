"""A disk that takes no more: which file it was, what stays whole, and what is not said of a model that is lost."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from bars import bars_cfg
from running import rows, train

from mtl_d2 import files
from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.files import WriteError, refusal, write_atomically

pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def largest_file(size):
    """The system refuses to let a file grow beyond ``size`` bytes, as a full disk or a quota would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def cfg(tmp_path):
    cfg = bars_cfg(tmp_path / "output")
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    cfg.MODEL.CLASSIFIER.TRUNK = ("conv 2 5 2", "linear 600")  # a checkpoint is far larger than the other files
    return cfg


def names(cfg):
    return {path.name for path in Path(cfg.OUTPUT_DIR).iterdir() if path.is_file() and "tfevents" not in path.name}


def test_last_checkpoint_that_does_not_fit_is_named_and_nothing_is_reported(cfg, caplog):
    train(cfg, until=4)
    for left in ("report.html", "results.json"):
        Path(cfg.OUTPUT_DIR, left).unlink()
    Path(cfg.OUTPUT_DIR, "model_final.pth").unlink()
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000003.pth")
    before = Path(cfg.OUTPUT_DIR, "model_0000003.pth").read_bytes()
    with largest_file(60_000), pytest.raises(WriteError) as found:
        train(cfg, resume=True)
    assert str(found.value).startswith(f"{cfg.OUTPUT_DIR}/model_0000007.pth could not be written: file too large. The")
    assert str(found.value).endswith("goes on from the last checkpoint, or begins anew where there is none")
    assert "Exception during training" not in caplog.text
    assert names(cfg) == {"run_id", "last_checkpoint", "model_0000003.pth", "metrics.json"}
    assert Path(cfg.OUTPUT_DIR, "model_0000003.pth").read_bytes() == before
    assert train(cfg, resume=True).start_iter == 4
    assert [row["iteration"] for row in rows(cfg)] == list(range(13))


def refuse(monkeypatch, name):
    """The disk is full where a file of that name is moved into place."""
    replace = os.replace

    def fail(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)


@pytest.mark.parametrize("name", ["results.json", "report.html", "last_checkpoint", "run_id"])
def test_file_that_was_not_written_is_named(cfg, monkeypatch, name):
    refuse(monkeypatch, name)
    with pytest.raises(WriteError, match=f"{name} could not be written: no space left on device"):
        train(cfg)
    assert not list(Path(cfg.OUTPUT_DIR).glob(".*.part"))


def test_row_of_the_log_that_was_not_written_ends_the_run(cfg):
    cfg.SOLVER.CHECKPOINT_PERIOD = 100
    said = r"(metrics|tfevents)\S+ could not be written: file too large"
    with largest_file(2000), pytest.raises(WriteError, match=said):
        train(cfg)


def test_checkpoint_that_is_written_again_keeps_its_last_whole_file(tmp_path):
    checkpointer = MultiTaskCheckpointer(torch.nn.Linear(100, 100), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    before = (tmp_path / "model_0000001.pth").read_bytes()
    with largest_file(8192), pytest.raises(WriteError, match="file too large"):
        checkpointer.save("model_0000001", iteration=2)
    assert (tmp_path / "model_0000001.pth").read_bytes() == before


def test_error_of_the_program_is_not_taken_for_the_disks():
    assert refusal(ValueError("x")) == ""
    assert refusal(FileNotFoundError(errno.ENOENT, "no such file", "image.jpg")) == ""
    assert refusal(OSError(errno.EROFS, "Read-only file system", "config.yaml")).startswith("config.yaml could not be")


def test_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"gone/a\.txt could not be written: no such file"):
        write_atomically(tmp_path / "gone" / "a.txt", "text")


SCRIPT = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60000, resource.RLIM_INFINITY))
sys.argv[0] = "tools/train_net.py"
runpy.run_path("tools/train_net.py", run_name="__main__")
"""


def test_command_says_it_in_a_line_and_fails(cfg, tmp_path):
    bars = Path(__file__).parent
    (tmp_path / "register.py").write_text(
        f"import sys; sys.path.insert(0, {str(bars)!r}); import bars; bars.bars_cfg({str(tmp_path / 'other')!r})"
    )
    cfg.MTL.DATA.MODULES = (str(tmp_path / "register.py"),)
    (tmp_path / "bars.yaml").write_text(cfg.dump())
    command = [sys.executable, "-c", SCRIPT, "--config-file", str(tmp_path / "bars.yaml")]
    done = subprocess.run(command, cwd=bars.parents[1], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert f"error: {cfg.OUTPUT_DIR}/model_0000003.pth could not be written: file too large." in done.stderr
    assert "Traceback" not in done.stderr
