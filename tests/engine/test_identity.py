"""One folder, several runs: which of them --resume goes on with."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from bars import bars_cfg
from detectron2.engine import HookBase
from running import train

from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.engine.identity import run_of

pytestmark = pytest.mark.filterwarnings("ignore")


class Kill(HookBase):
    """As SIGKILL would: nothing more is written."""

    def __init__(self, update):
        self.update = update

    def before_step(self):
        if self.trainer.iter == self.update:
            raise KeyboardInterrupt


def killed(cfg, update):
    with pytest.raises(KeyboardInterrupt):
        train(cfg, hooks=[Kill(update)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(bars_cfg(folder))
    return folder


@pytest.fixture
def cfg(finished, tmp_path):
    """For a folder that holds the finished run."""
    shutil.copytree(finished, tmp_path / "output")
    return bars_cfg(tmp_path / "output")


def test_new_run_that_was_killed_before_its_first_checkpoint_begins_anew(cfg, caplog):
    killed(cfg, 2)
    with caplog.at_level(logging.WARNING):
        logging.getLogger("fvcore").addHandler(caplog.handler)
        assert train(cfg, resume=True).start_iter == 0
        logging.getLogger("fvcore").removeHandler(caplog.handler)
    assert "checkpoints of an earlier run (model_final.pth" in caplog.text


def test_new_run_that_was_killed_after_a_checkpoint_goes_on_from_its_own(cfg):
    killed(cfg, 6)
    assert train(cfg, resume=True).start_iter == 4


def test_own_checkpoint_is_taken_where_the_tag_is_lost_though_the_old_one_has_more_updates(cfg):
    killed(cfg, 6)
    Path(cfg.OUTPUT_DIR, "last_checkpoint").unlink()
    assert train(cfg, resume=True).start_iter == 4


def test_finished_run_is_longer_if_asked(cfg):
    cfg.SOLVER.MAX_ITER = 13
    assert train(cfg, resume=True).start_iter == 12
    assert run_of(Path(cfg.OUTPUT_DIR)) == torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"))["run"]


def test_weights_of_the_best_evaluation_are_no_checkpoint_and_no_obstacle(cfg):
    model = torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    killed(cfg, 2)
    torch.save({"model": model}, Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert train(cfg, resume=True).start_iter == 0


def strip(folder):
    """Leaves it as a version without ids would have."""
    (folder / "run_id").unlink()
    for path in folder.glob("*.pth"):
        content = torch.load(path)
        del content["run"]
        torch.save(content, path)


def test_run_without_an_id_goes_on(cfg):
    strip(Path(cfg.OUTPUT_DIR))
    cfg.SOLVER.MAX_ITER = 13
    assert train(cfg, resume=True).start_iter == 12
    cfg.SOLVER.MAX_ITER = 14
    assert train(cfg, resume=True).start_iter == 13
    killed(cfg, 2)
    assert train(cfg, resume=True).start_iter == 0


def test_checkpoint_says_whose_it_is_where_the_folder_does_not(cfg):
    folder = Path(cfg.OUTPUT_DIR)
    run = run_of(folder)
    (folder / "run_id").unlink()
    train(cfg, resume=True)
    assert run_of(folder) == run


def test_only_the_process_that_writes_names_the_run(tmp_path):
    reader = MultiTaskCheckpointer(torch.nn.Linear(1, 1), str(tmp_path), save_to_disk=False)
    reader.begin_run()
    assert run_of(tmp_path) is None
