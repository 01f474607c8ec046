"""What is asked of SLURM; a script stands for its commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import UPDATES, planned

from mtl_d2.comparison.cluster import SlurmCluster
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.executors import Choice
from mtl_d2.comparison.slurm_settings import slurm_parameters
from mtl_d2.comparison.state import FINISHED, read_outcome
from mtl_d2.comparison.submitted import SubmittedRunner, cancel_all

FAKE = Path(__file__).with_name("fake_training.py")
# sbatch keeps its file and runs the tasks of an array one after the other, in the background.
SBATCH = """#!/bin/sh
cp "$1" {folder}/submitted.sh
tasks=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
(
  export SLURM_JOB_ID=77 SUBMITIT_EXECUTOR=slurm
  if [ -n "$tasks" ]; then
    for i in $(seq 0 $tasks); do
      SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$i sh "$1"
    done
  else
    sh "$1"
  fi
) > /dev/null 2>&1 &
echo "Submitted batch job 77"
"""
SRUN = """#!/bin/sh
while [ "$1" != "{python}" ]; do shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of SLURM, and a folder for what they are told."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    place = tmp_path / "bin"
    place.mkdir()
    scripts = {"sbatch": SBATCH.replace("{folder}", str(tmp_path)), "srun": SRUN.replace("{python}", sys.executable)}
    scripts["sacct"] = "#!/bin/sh\necho 'JobID|State'\n"
    scripts["scancel"] = f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n'
    for name, text in scripts.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", root + os.pathsep + os.environ.get("PYTHONPATH", ""))
    return tmp_path


def test_settings_become_submitits_parameters():
    words = ["time=240", "partition=gpu", "gpus_per_node=1", "mem_gb=12.5", "account=a", "constraint=v100|a100"]
    assert slurm_parameters(words) == {
        "time": 240, "partition": "gpu", "gpus_per_node": 1, "mem": "12800M", "account": "a",
        "constraint": "v100|a100", "signal_delay_s": 120,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "time=MINUTES is missing"),
        (["time=2h"], "time must be a whole number of minutes, at least 1, got '2h'"),
        (["time=5", "time=6"], "time is given twice"),
        (["time=5", "gpu_per_node=1"], "did you mean 'gpus_per_node'"),
        (["time=5", "partition"], "'partition' must be KEY=VALUE"),
        (["time=5", "mem_gb=nan"], "mem_gb must be a number of gigabytes above 0, got 'nan'"),
        (["time=2"], "grace must be less than time, 120 seconds, got 120"),
    ],
)
def test_mistakes_in_settings_are_told(words, line):
    with pytest.raises(ComparisonError, match="--slurm") as told:
        slurm_parameters(words)
    assert line in str(told.value)
    assert len(str(told.value).splitlines()) == 2


def test_all_mistakes_come_at_once():
    with pytest.raises(ComparisonError) as told:
        slurm_parameters(["time=0", "cpus_per_task=x", "q=1"])
    assert len(str(told.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        (Choice("local", slurm=("time=5",)), "--slurm is for --executor slurm"),
        (Choice("local", share=True), "--share is for --executor process"),
        (Choice(share=True, anew=True), "--rerun-changed with --share"),
    ],
    ids=["slurm", "share", "anew"],
)
def test_options_that_do_not_go_together_are_refused(choice, line):
    with pytest.raises(ComparisonError, match=line):
        choice.parameters()


def test_without_slurm_it_says_where_to_go(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ComparisonError, match="a login node"):
        SlurmCluster(tmp_path, slurm_parameters(["time=5"]), 2)


def test_without_submitit_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ComparisonError, match=r"pip install"):
        SlurmCluster(tmp_path, slurm_parameters(["time=5"]), 2)


def test_runs_are_one_array_with_the_settings_and_the_limit(slurm):
    (slurm / "do").write_text("finish")
    (slurm / "updates").write_text(str(UPDATES))
    cluster = SlurmCluster(slurm, slurm_parameters(["time=240", "partition=gpu", "gpus_per_node=1", "mem_gb=8"]), 2)
    cluster.period = 0.2
    runs = [planned(slurm, name) for name in ("a", "b", "c")]
    runner = SubmittedRunner(cluster, slurm, lambda config: [sys.executable, "-S", str(FAKE), str(config)])
    assert len(list(runner(runs))) == 3
    assert [read_outcome(run.folder).state for run in runs] == [FINISHED] * 3
    text = (slurm / "submitted.sh").read_text()
    subprocess.run(["bash", "-n", str(slurm / "submitted.sh")], check=True)
    for line in ("array=0-2%2", "time=240", "partition=gpu", "gpus-per-node=1", "mem=8192M", "signal=USR2@120"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --open-mode=append" in text


def test_jobs_that_wait_in_the_queue_are_found_again_and_cancelled(slurm):
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'Submitted batch job 78'\n")
    (slurm / "bin" / "sacct").write_text("#!/bin/sh\necho 'JobID|State'\necho '78_[0-1%2]|PENDING'\n")
    parameters = slurm_parameters(["time=240"])
    runs = [planned(slurm, name) for name in ("a", "b")]

    def command():
        return SubmittedRunner(SlurmCluster(slurm, parameters, 2), slurm, lambda config: ["none"])

    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(command()(runs, leave))
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\nexit 1\n")
    again = command()
    with pytest.raises(KeyboardInterrupt):
        list(again(runs, leave))
    assert [job.record.job for job in again.jobs] == ["78_0", "78_1"]
    assert cancel_all(slurm, lambda name: SlurmCluster(slurm, {}, 1)) == ["78_0", "78_1"]
    assert (slurm / "cancelled").read_text().split() == ["78_0", "78_1"]


def test_what_sbatch_says_is_told_in_a_line(slurm):
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: gpux' >&2\nexit 1\n")
    cluster = SlurmCluster(slurm, slurm_parameters(["time=5"]), 2)
    with pytest.raises(ComparisonError, match="invalid partition specified: gpux"):
        list(SubmittedRunner(cluster, slurm, lambda config: ["none"])([planned(slurm)]))
