"""What the command says before anything is built, and what it evaluates; without the price of a process."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "engine"))

from bars import bars_cfg  # noqa: E402

from mtl_d2.config import ConfigError  # noqa: E402
from mtl_d2.engine.checkpoint import CheckpointError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SPEC = importlib.util.spec_from_file_location("train_net", TESTS.parent / "tools" / "train_net.py")
train_net = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(train_net)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs tools/train_net.py with further words, on bright bars."""
    monkeypatch.setattr(train_net, "default_setup", lambda cfg, args: None)  # would leave its loggers behind
    monkeypatch.setattr(train_net, "setup_logger", lambda *args, **kwargs: None)
    cfg = bars_cfg(tmp_path / "output")
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 2, (1,)
    (tmp_path / "bars.yaml").write_text(cfg.dump())

    def run(*words):
        return train_net.main(train_net.parse(["--config-file", str(tmp_path / "bars.yaml"), *words]))

    return run


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


def refusal(command, *words):
    with pytest.raises((ConfigError, CheckpointError)) as found:
        command(*words)
    return str(found.value)


def test_evaluation_alone_takes_the_checkpoint_or_a_file_and_writes_the_results(command, output):
    trained = command()
    (output / "results.json").unlink()
    assert command("--eval-only", "--resume") == trained
    row = json.loads((output / "results.json").read_text())
    (output / "results.json").unlink()
    assert command("--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth")) == trained
    assert json.loads((output / "results.json").read_text()) == row


def test_evaluation_without_weights_is_refused_with_both_ways(command, output):
    (output / "model_final.pth").touch()
    said = refusal(command, "--eval-only")
    assert "add --resume" in said
    assert f"set MODEL.WEIGHTS to {output}/model_final.pth" in said


def test_evaluation_of_an_empty_folder_is_refused(command):
    assert "--resume found no checkpoint" in refusal(command, "--eval-only", "--resume")


def test_evaluation_of_a_new_run_in_an_old_folder_does_not_take_the_old_model(command, output):
    command()
    (output / "run_id").write_text("that of a run that was killed before its first checkpoint")
    assert "no checkpoint of the last run" in refusal(command, "--eval-only", "--resume")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu', which is no device of torch's"),
        (["MODEL.WEIGHTS", "nowhere/R-50.pkl"], "nor is the folder nowhere"),
        (["MODEL.WEIGHTS", "configs/Base-RCCN.yaml"], "such as configs/Base-"),
        (["MODEL.WEIGHTS", "configs"], "MODEL.WEIGHTS configs is a folder"),
        (["MODEL.WEIGHTS", "http://127.0.0.1:9/R-50.pkl"], "http://127.0.0.1:9/R-50.pkl cannot be fetched"),
        (["MODEL.WEIGHTS", "s3://bucket/R-50.pkl"], "nothing reads addresses that begin with s3://"),
        (["OUTPUT_DIR", "setup.py/output"], "setup.py is no folder"),
        (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty"),
        (["OUTPUT_DIR", "/proc/output"], "no file can be written in /proc"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "-2"], "REFERENCE_WORLD_SIZE must be the number of processes"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "3"], "REFERENCE_WORLD_SIZE must divide SOLVER.IMS_PER_BATCH 4"),
        (["SOLVER.LR_SCHEDULER_NAME", "Cosine"], "SOLVER.LR_SCHEDULER_NAME 'Cosine'"),
    ],
)
def test_mistake_is_said_in_a_line_before_data_are_read(command, monkeypatch, words, said):
    monkeypatch.chdir(TESTS.parent)
    monkeypatch.setattr(train_net, "check_data", None)
    assert said in refusal(command, *words)


def test_cuda_without_a_gpu_says_what_torch_is_built_for(command, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    assert "is built without GPU support" in refusal(command, "MODEL.DEVICE", "cuda")
    monkeypatch.setattr("torch.version.cuda", "12.8")
    assert "is built for 12.8, but sees no GPU" in refusal(command, "MODEL.DEVICE", "cuda:1")


def test_gpu_beyond_the_last_and_one_for_all_processes_are_refused(command, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert "one of 'cuda:0' to 'cuda:1'" in refusal(command, "MODEL.DEVICE", "cuda:7")
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "host")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert "would put all processes on one GPU" in refusal(command, "MODEL.DEVICE", "cuda:1")


def test_all_mistakes_are_said_at_once(command):
    said = refusal(command, "MODEL.DEVICE", "gpu", "MODEL.WEIGHTS", "nowhere.pth", "VIS_PERIOD", "10", "OUTPUT_DIR", "")
    assert said.count("\n  - ") == 4


@pytest.fixture
def writes_config(monkeypatch):
    """``default_setup`` writes the config, as detectron2's does."""

    def write(cfg, args):
        Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        Path(cfg.OUTPUT_DIR, "config.yaml").write_text(cfg.dump())

    monkeypatch.setattr(train_net, "default_setup", write)


@pytest.mark.parametrize("words", [["--resume", "SEED", "5"], ["MODEL.CLASSIFIER.TRUNK", "('conv 9 99',)"]])
def test_refused_run_leaves_the_folder_to_the_run_that_it_holds(command, output, writes_config, words):
    command()
    kept = [(output / name).read_text() for name in ("config.yaml", "run_id")]
    refusal(command, *words)
    assert [(output / name).read_text() for name in ("config.yaml", "run_id")] == kept


def test_evaluation_leaves_the_config_of_the_training_and_a_longer_training_changes_it(command, output, writes_config):
    command()
    kept = (output / "config.yaml").read_text()
    command("--eval-only", "--resume", "SOLVER.BASE_LR", "0.5")
    assert (output / "config.yaml").read_text() == kept
    command("--resume", "SOLVER.MAX_ITER", "3")
    assert "MAX_ITER: 3" in (output / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["OUTPUT_DIR", "~/run"], "OUTPUT_DIR is '~/run', in which nobody replaces the ~"),
        (["OUTPUT_DIR", "s3://bucket/run"], "an address, and files are written to folders only"),
        (["OUTPUT_DIR", "run "], "begins or ends with a space"),
        (["OUTPUT_DIR", "n" * 300], "a name has 300 characters"),
        (["DATALOADER.NUM_WORKERS", "-1"], "DATALOADER.NUM_WORKERS must be at least 0, got -1"),
        (["INPUT.FORMAT", "BGRA"], "INPUT.FORMAT is 'BGRA', which is none of 'BGR'"),
        (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "any"], "is 'any', which is none of 'choice', 'range'"),
        (
            ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", "(9,)"],
            "INPUT.MIN_SIZE_TRAIN must be (from, to)",
        ),
        (["TEST.EXPECTED_RESULTS", "[1]"], "TEST.EXPECTED_RESULTS must be lists of group, metric, value and tolerance"),
    ],
)
def test_value_that_detectron2_would_stumble_over_is_said(command, words, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        command(*words)
