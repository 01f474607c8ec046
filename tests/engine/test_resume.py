"""What a run that goes on from a checkpoint keeps, says and refuses; kills of whole processes are in test_kills.py."""

import json
import logging
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase
from detectron2.modeling import BACKBONE_REGISTRY
from running import train
from torch.nn.functional import dropout

from mtl_d2.data import reading
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.metrics import keep_rows

pytestmark = pytest.mark.filterwarnings("ignore")
TIMES = ("time", "data_time", "eta_seconds")


@BACKBONE_REGISTRY.register()
def build_dropout_backbone(cfg, input_shape):
    trunk = BACKBONE_REGISTRY.get("build_timm_fpn_backbone")(cfg, input_shape)
    trunk.register_forward_hook(lambda m, _, out: {k: dropout(v, 0.3, m.training) for k, v in out.items()})
    return trunk


class Once(HookBase):
    """Does something in the middle of an update."""

    def __init__(self, update, action):
        self.update, self.action = update, action

    def before_step(self):
        if self.trainer.iter == self.update:
            self.action()


def rows(folder):
    lines = Path(folder, "metrics.json").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def ask(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture
def run(mclgs_cfg):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    return mclgs_cfg


@pytest.fixture
def caplog(caplog):
    caplog.set_level(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("mtl_d2", "fvcore", "detectron2")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


def test_draws_logs_and_evaluations_go_on_as_if_the_run_had_not_stopped(run, tmp_path):
    run.MODEL.BACKBONE.NAME = "build_dropout_backbone"
    run.MTL.LOG_PERIOD = 3  # medians of updates on both sides of the checkpoint
    run.DATASETS.TEST, run.TEST.EVAL_PERIOD = ("bdd100k_sem_seg_val",), 2
    whole = train(run)
    stopped = tmp_path / "stopped"
    shutil.copytree(run.OUTPUT_DIR, stopped)  # with all that came after the checkpoint that is taken
    (stopped / "last_checkpoint").write_text("model_0000001.pth")
    with (stopped / "metrics.json").open("a") as file:
        file.write('{"iteration": 7, "total')
    first, run.OUTPUT_DIR = run.OUTPUT_DIR, str(stopped)
    torch.rand(5)  # another position of the generator
    resumed = train(run, True)
    assert resumed.start_iter == 2
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(whole.model.state_dict()[name], value), name
    assert rows(stopped) == rows(first)
    evaluated = [row["iteration"] for row in rows(stopped) if "sem_seg/mIoU" in row]
    assert evaluated == [1, 3, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_run_after_the_update_with_a_checkpoint(run, caplog, number):
    before = signal.getsignal(number)
    trainer = train(run, hooks=[Once(2, ask(number))])
    assert trainer.iter == 2
    assert Path(run.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000002.pth"
    assert not Path(run.OUTPUT_DIR, "model_final.pth").exists()
    assert "Stopped after update 2; the same command with --resume goes on" in caplog.text
    assert "Exception during training" not in caplog.text
    assert signal.getsignal(number) is before
    assert train(run, True).start_iter == 3


def test_second_interrupt_ends_at_once(run):
    with pytest.raises(KeyboardInterrupt):
        train(run, hooks=[Once(2, lambda: (ask(signal.SIGINT)(), ask(signal.SIGINT)()))])
    assert Path(run.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000001.pth"


def test_signal_in_the_last_update_lets_the_run_end(run):
    trainer = train(run, hooks=[Once(5, ask(signal.SIGTERM))])
    assert trainer.iter == trainer.max_iter
    assert Path(run.OUTPUT_DIR, "model_final.pth").exists()


class AtTheEnd(HookBase):
    """Does something where the last evaluation is done."""

    def __init__(self, action):
        self.after_train = action


@pytest.fixture
def interruptible():
    """A background job, as which the tests may run, ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigterm_lets_the_last_evaluation_end_and_an_interrupt_does_not(run, interruptible):
    before = signal.getsignal(signal.SIGTERM)
    train(run, hooks=[AtTheEnd(ask(signal.SIGTERM))])  # would end pytest
    assert Path(run.OUTPUT_DIR, "model_final.pth").exists()
    with pytest.raises(KeyboardInterrupt):
        train(run, hooks=[AtTheEnd(ask(signal.SIGINT))])
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupt_is_answered(run, capfd):
    train(run, hooks=[Once(2, ask(signal.SIGINT))])
    assert "Ctrl-C once more ends the training at once" in capfd.readouterr().err


def test_value_that_is_not_finite_leaves_the_last_good_checkpoint_to_go_on_from(run):
    def poison():
        next(trainer.model.backbone.parameters()).data.fill_(float("nan"))

    trainer = MultiTaskTrainer(run)
    trainer.register_hooks([Once(3, poison)])
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer.train()
    assert Path(run.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000001.pth"
    assert not Path(run.OUTPUT_DIR, "model_final.pth").exists()
    resumed = train(run, True)
    assert resumed.start_iter == 2
    assert all(value.isfinite().all() for value in resumed.model.state_dict().values())


def test_changed_settings_are_named(run, caplog):
    train(run)
    run.SOLVER.MAX_ITER, run.SOLVER.BASE_LR, run.DATALOADER.NUM_WORKERS = 7, 0.005, 1
    run.MTL.DATA.PER_DATASET = (3, 1)
    train(run, True)
    for line in (
        "SOLVER.MAX_ITER: 6 in the checkpoint, now 7",
        "SOLVER.BASE_LR: 0.01 in the checkpoint, now 0.005",
        "MTL.DATA.PER_DATASET: [2, 2] in the checkpoint, now [3, 1]",
    ):
        assert line in caplog.text
    assert "NUM_WORKERS: 0 in the checkpoint" not in caplog.text


def test_other_methods_and_tasks_are_refused(run):
    train(run)
    run.MTL.SCALARIZATION.NAME = "dwa"
    with pytest.raises(CheckpointError, match=r"NAME: 'fixed' in the checkpoint, now 'dwa'"):
        train(run, True)


def test_smoothing_that_begins_or_ends_is_refused(run):
    run.MTL.GRADIENT.AGGREGATOR = "pcgrad"
    train(run)
    run.MTL.GRADIENT.SMOOTH = 0.9
    with pytest.raises(CheckpointError, match=r"MTL\.GRADIENT\.SMOOTH: 0\.0 in the checkpoint, now 0\.9"):
        train(run, True)


def edit(run, change):
    path = Path(run.OUTPUT_DIR, "model_final.pth")
    content = torch.load(path)
    change(content)
    torch.save(content, path)


def test_another_number_of_processes_says_what_is_no_longer_equal(run, caplog):
    train(run)
    edit(run, lambda content: content["trainer"].update(world_size=2) or content["generators"].append({}))
    train(run, True)
    assert "written by 2 processes, 1 go on" in caplog.text
    assert "no longer equal bit for bit" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["trainer"].pop("loop"), "trainer state has no loop"),
        (lambda content: content["trainer"]["loop"].pop("balancer"), "state of the loop has no balancer"),
    ],
)
def test_state_of_another_version_is_refused(run, change, message):
    run.SOLVER.MAX_ITER = 1
    train(run)
    edit(run, change)
    with pytest.raises(CheckpointError, match=f"{message}: another version of mtl_d2"):
        train(run, True)


def test_rows_after_the_checkpoint_and_a_cut_one_go(tmp_path):
    path = tmp_path / "metrics.json"
    keep_rows(path, 3)
    assert not path.exists()
    path.write_text('{"iteration": 1}\n{"iteration": 4}\nnonsense\n{"iteration": 3}\n{"iteration": 2}')
    keep_rows(path, 3)
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 3}\n'


def test_run_that_begins_anew_keeps_the_old_rows_beside_its_own(run):
    run.SOLVER.MAX_ITER = 1
    train(run)
    train(run)
    assert [row["iteration"] for row in rows(run.OUTPUT_DIR)] == [0]
    assert Path(run.OUTPUT_DIR, "metrics.old.json").exists()


def test_other_records_are_not_gone_on_with(run, monkeypatch):
    train(run, until=2)
    name = run.DATASETS.TRAIN[0]
    read = DatasetCatalog.get
    monkeypatch.setattr(reading, "_FIRST", {})  # as in another process
    monkeypatch.setattr(DatasetCatalog, "get", lambda asked: read(asked)[: -1 if asked == name else None])
    with pytest.raises(CheckpointError, match=f"{name}: its records, or their order, are not those"):
        train(run, resume=True)
