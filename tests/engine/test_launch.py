import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from mtl_d2.config import ConfigError
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine import launch as launching

VARIABLES = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
VARIABLES |= {"MASTER_ADDR": "host", "MASTER_PORT": "1"}


@pytest.fixture
def started(monkeypatch):
    """How the main function would be started: arguments and variables in; gives what ``start`` made of them."""

    def start(arguments, variables, gpus=0):
        calls = []
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(launching.torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(launching, "launch", lambda main, *numbers, args: calls.append(numbers))
        launching.start(lambda args: calls.append("here"), default_argument_parser().parse_args(arguments))
        return calls[0]

    return start


def test_torchruns_variables_make_this_process_one_of_the_group(started):
    assert started([], VARIABLES) == "here"
    assert started([], {"RANK": "0"})[:3] == (1, 1, 0)


def test_detectron2s_arguments_reach_its_launch(started):
    words = ["--num-gpus", "2", "--num-machines", "3", "--machine-rank", "1", "--dist-url", "tcp://host:1"]
    assert started(words, {}, gpus=2) == (2, 3, 1, "tcp://host:1")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--num-gpus", "2"], VARIABLES, "torchrun has started the processes already: leave out --num-gpus"),
        (["--machine-rank", "1"], VARIABLES, "leave out --num-gpus, --num-machines and --machine-rank"),
        (["--num-gpus", "8"], {}, r"at most the number of GPUs of this machine, 1; got 8.*torchrun"),
        (["--num-gpus", "0"], {}, "must be at least 1, got 0 and 1"),
    ],
)
def test_contradictions_are_refused(started, arguments, variables, message):
    with pytest.raises(ConfigError, match=message):
        started(arguments, variables, gpus=1)


def test_more_processes_than_gpus_are_refused(started, monkeypatch):
    started([], VARIABLES, gpus=1)
    message = "--nproc-per-node must be at most the number of GPUs of the machine, 1, got 2"
    with pytest.raises(ConfigError, match=message), launching.process_group("cuda"):
        pass


def test_batch_that_cannot_be_shared_evenly_is_refused_before_anything_is_built(cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(MultiTaskTrainer, "build_model", None)
    with pytest.raises(ConfigError, match=r"IMS_PER_BATCH must be a positive multiple .* 3; got 4: take 3"):
        MultiTaskTrainer(cfg)


WAITING = """
import multiprocessing, time
from mtl_d2.engine.launch import _signals_passed_on

def wait():
    time.sleep(60)

if __name__ == "__main__":
    with _signals_passed_on():
        child = multiprocessing.get_context("spawn").Process(target=wait)
        child.start()
        print("started", flush=True)
        child.join()
        print(child.exitcode, flush=True)
"""


def test_launching_process_passes_a_signal_on_and_waits(tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].strip() == str(-signal.SIGTERM)
    assert process.returncode == 0


def gloo_threads():
    """Names of this process's threads that work for gloo, as Linux has them."""
    names = (path.read_text() for path in Path("/proc/self/task").glob("*/comm"))
    return [name for name in names if "gloo" in name]


def test_no_thread_of_the_groups_outlives_them(monkeypatch, tmp_path):
    # One that gives back a tensor when Python has ended aborts the process.
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setattr(launching, "started_by_torchrun", lambda: True)
    store = {"init_method": f"file://{tmp_path}/store", "rank": 0, "world_size": 1}
    begin = dist.init_process_group
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: begin(backend, **store))
    with launching.process_group("cpu"):
        dist.barrier()
        comm._get_global_gloo_group()  # which is kept
        end = time.monotonic() + 5
        while not gloo_threads() and time.monotonic() < end:
            time.sleep(0.01)
        if not gloo_threads():
            pytest.skip("threads have no names here")
    assert not gloo_threads()
    assert not dist.is_initialized()
