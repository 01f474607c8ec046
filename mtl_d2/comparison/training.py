"""One training: a process alone in its run's folder, and how it ended. Imports little: jobs on a cluster begin here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtl_d2.comparison.state import (
    CONFIG,
    CONSOLE,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OUTCOME,
    Outcome,
    error_of,
    read_outcome,
    updates_done,
    write_outcome,
)
from mtl_d2.files import write_atomically
from mtl_d2.locks import lock_folder

PATIENCE = 20.0  # seconds that a process has to end after it was asked to
CHECKPOINT = "last_checkpoint"  # the trainer's: names the file that a resumed run goes on from


class Training:
    """A process that trains, started when this is made.

    Its folder is locked by a file that the process holds open, so that nothing else trains in it, even when whoever
    started it has been killed and has left the process behind.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        updates: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        own_session: bool = True,
    ) -> None:
        """Starts it.

        Args:
            folder: of the run; made where it is not there.
            config: YAML, which is written into the folder as ``CONFIG``.
            updates: how many make a finished run.
            command: the command line.
            environment: variables that it gets besides those of this process.
            own_session: whether signals to this process's group, such as a terminal's Ctrl-C, pass it by.

        Raises:
            BlockingIOError: another process trains in the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
        if lock is None:
            raise BlockingIOError(f"{folder}: another process is training there; wait for it or end it")
        self.folder = folder
        self.updates = updates
        self.before = read_outcome(folder)
        (folder / OUTCOME).unlink(missing_ok=True)
        write_atomically(folder / CONFIG, config)
        self.own_session = own_session
        console = (folder / CONSOLE).open("ab")
        self.said_before = console.tell()
        self.files = (lock, console)
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            pass_fds=(lock.fileno(),),
            start_new_session=own_session,
        )

    def ended(self) -> bool:
        """Whether the process has ended; its outcome is then written."""
        if self.process.returncode is not None:
            return True
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not pid:
            return False
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        memory = usage.ru_maxrss * (1024 if os.uname().sysname == "Linux" else 1)
        write_outcome(self.folder, self._outcome(code, memory))
        for file in self.files:
            file.close()
        return True

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal; a trainer that hears SIGTERM writes a checkpoint and ends."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.own_session:
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)

    def abandon(self) -> None:
        """Kills the process, and leaves no outcome: the folder is another's by now, who trains or has trained there."""
        self.ask(signal.SIGKILL)
        self.process.wait()
        for file in self.files:
            file.close()

    def _outcome(self, code: int, memory: int) -> Outcome:
        memory = max(memory, self.before.memory)
        seconds = self.before.seconds + time.monotonic() - self.start
        if code < 0:
            return Outcome(INTERRUPTED, f"ended by signal {signal.Signals(-code).name}", memory, seconds)
        if code:
            return Outcome(FAILED, error_of(self.folder, code, self.said_before), memory, seconds)
        done = updates_done(self.folder)
        if done < self.updates:  # a trainer that is asked to end may do so in order
            return Outcome(INTERRUPTED, f"stopped after {done} of {self.updates} updates", memory, seconds)
        return Outcome(FINISHED, "", memory, seconds)


def stop(trainings: Sequence[Training], patience: float = PATIENCE) -> None:
    """Asks all of them to end, at once, and kills those that do not within ``patience`` seconds."""
    left = list(trainings)
    for training in left:
        training.ask()
    deadline = time.monotonic() + patience
    while left:
        if time.monotonic() > deadline:
            for training in left:
                training.ask(signal.SIGKILL)
        for training in [training for training in left if training.ended()]:
            left.remove(training)
            _was_asked(training.folder)
        time.sleep(0.05 if left else 0)


def last_checkpoint(folder: Path) -> str:
    """The name of the checkpoint that a run would go on from; "" if there is none."""
    try:
        return (folder / CHECKPOINT).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _was_asked(folder: Path) -> None:
    """A run that was stopped by us did not fail, whatever it said when it ended."""
    outcome = read_outcome(folder)
    if outcome.state == FAILED:
        write_outcome(folder, Outcome(INTERRUPTED, "stopped with the comparison", outcome.memory, outcome.seconds))
