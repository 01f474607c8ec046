"""The training that ``kill_test.py`` kills: its data, its command and its processes."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from mtl_d2.data.sample_scenes.generate import Request, generate

ROOT = Path(__file__).resolve().parents[1]
UPDATES = 24
SMALL = {
    "SOLVER.MAX_ITER": UPDATES, "SOLVER.STEPS": (16,), "SOLVER.WARMUP_ITERS": 4, "SOLVER.IMS_PER_BATCH": 4,
    "MTL.DATA.PER_DATASET": (2, 2), "MTL.LOG_PERIOD": 1, "MTL.GRADIENT.MCLGS.EMA": 0.5, "TEST.EVAL_PERIOD": 9,
    "MODEL.FPN.OUT_CHANNELS": 32, "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32, "MODEL.FCOS.NUM_CONVS": 1,
    "MODEL.BACKBONE.NAME": "build_backbone_with_dropout", "INPUT.MIN_SIZE_TRAIN": (64,), "SEED": 1,
}  # fmt: skip
DROPOUT = '''"""The sample scenes' trunk, with dropout: it draws from the global generator."""

from detectron2.modeling import BACKBONE_REGISTRY
from torch.nn.functional import dropout


@BACKBONE_REGISTRY.register()
def build_backbone_with_dropout(cfg, input_shape):
    trunk = BACKBONE_REGISTRY.get("build_timm_fpn_backbone")(cfg, input_shape)
    trunk.register_forward_hook(lambda m, _, out: {k: dropout(v, 0.1, m.training) for k, v in out.items()})
    return trunk
'''


def command(folder: Path, work: Path, period: int) -> list[str]:
    """A training of ``prepare``'s data that leaves a checkpoint in ``folder`` every ``period`` updates."""
    options = {**SMALL, "SOLVER.CHECKPOINT_PERIOD": period, "OUTPUT_DIR": folder}
    options["MTL.DATA.MODULES"] = (str(work / "dropout.py"),)
    words = [ROOT / "tools/train_net.py", "--resume", "--config-file", ROOT / "configs/sample_scenes_mclgs.yaml"]
    return [str(word) for word in [*words, *(word for pair in options.items() for word in pair)]]


def environment(work: Path, **extra: object) -> dict[str, str]:
    """The variables for ``command``."""
    own = {"DETECTRON2_DATASETS": work / "data", "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "PASSIVE"}
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return {**os.environ, "PYTHONPATH": path, **{key: str(value) for key, value in (own | extra).items()}}


def prepare(work: Path) -> None:
    """Writes the data set and the module that a training needs."""
    generate(work / "data", Request(8, 4, (160, 96), 0, "easy", ("bdd100k",)), 1)
    (work / "dropout.py").write_text(DROPOUT)


class Training:
    """A run of tools/train_net.py with ``--resume``, as one process or several on gloo."""

    def __init__(self, folder: Path, work: Path, ranks: int, period: int) -> None:
        """Starts it; ``period`` updates between checkpoints."""
        self.folder = folder
        self.log = work / "stdout.txt"
        folder.mkdir(exist_ok=True)
        self._left = set(folder.glob(".model*.part"))  # by a process that was killed before
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": ranks}
        group["LOCAL_WORLD_SIZE"] = ranks
        with self.log.open("w") as log:
            self.processes = [
                subprocess.Popen(
                    [sys.executable, *command(folder, work, period)],
                    env=environment(work, **group | {"RANK": i, "LOCAL_RANK": i} if ranks > 1 else {}),
                    stdout=subprocess.DEVNULL if i else log,
                    stderr=subprocess.DEVNULL if i else log,
                )
                for i in range(ranks)
            ]

    def ended(self) -> bool:
        """Whether all of its processes have."""
        return all(process.poll() is not None for process in self.processes)

    def writes_checkpoint(self) -> bool:
        """Whether there is a half-written one."""
        return not self._left.issuperset(self.folder.glob(".model*.part"))

    def moment(self) -> str:
        """What it is doing, by what it said and left."""
        if self.writes_checkpoint():
            return "checkpoint"
        said = self.log.read_text(errors="replace")
        if "Starting training from iteration" not in said:
            return "start"
        return "evaluation" if said.count("Start inference on") > said.count("mIoU") // 2 else "update"

    def send(self, number: signal.Signals, draw: random.Random) -> int:
        """Sends the signal, SIGKILL to all processes and another to one of them; returns the first's exit code.

        If one of them ends with another status than 0 the others are ended, as by a launcher.
        """
        for process in self.processes if number == signal.SIGKILL else [draw.choice(self.processes)]:
            process.send_signal(number)
        deadline = time.monotonic() + 120
        while not self.ended():
            late = time.monotonic() > deadline
            if late or any(process.poll() for process in self.processes):
                for process in self.processes:
                    process.send_signal(signal.SIGKILL if late else signal.SIGTERM)
            time.sleep(0.1)
        return self.processes[0].returncode
