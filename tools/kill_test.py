#!/usr/bin/env python3
"""Kills a small training at random moments, resumes it in a fresh process, and compares it with one that never stopped.

tools/kill_test.py --kills 200 [--ranks 2] [--seed 0] [--output output/kill_test]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from kill_test_run import UPDATES, Training, prepare
from tabulate import tabulate

from mtl_d2.engine.pickles import read_torch

TIMES = ("time", "data_time", "eta_seconds")  # differ between any two runs
KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass
class Kill:
    """One row of the table.

    Attributes:
        signal: what the processes got.
        moment: what they did: start, update, evaluation, checkpoint.
        exit_code: of the first process.
        done: the last update in the log, -1 = none.
        resumed: the last update in the newest checkpoint, -1 = none.
        equal: the checkpoints written next are the uninterrupted run's, bit for bit; None = not known yet.
    """

    signal: str
    moment: str
    exit_code: int
    done: int
    resumed: int = -1
    equal: bool | None = None


def fingerprint(path: Path) -> str:
    """Of everything in a checkpoint that the next update depends on."""
    state = read_torch(str(path))
    digest = hashlib.sha256()
    parts = [state["model"], state["trainer"]["loop"], state["trainer"]["hooks"]["LRScheduler"], state["generators"]]
    for name, value in _leaves(parts):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return digest.hexdigest()


def _leaves(state: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(state, Mapping):
        state = sorted(state.items(), key=lambda item: str(item[0]))
        for key, value in state:
            yield from _leaves(value, f"{path}/{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from _leaves(value, f"{path}/{i}")
    else:
        yield path, state


def rows(folder: Path) -> list[dict[str, float]]:
    """Of ``metrics.json``, without the times; a row that a kill has cut in two is left out."""
    found, path = [], folder / "metrics.json"
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            found.append({key: value for key, value in json.loads(line).items() if key not in TIMES})
    return found


def checkpoints(folder: Path) -> dict[int, Path]:
    """By the last update in them."""
    return {int(path.stem[-7:]): path for path in folder.glob("model_0*.pth")}


def wait_for_moment(training: Training, draw: random.Random) -> None:
    """Waits for a random moment: 15 % at any time from the start on, 30 % in a checkpoint, the others after updates."""
    kind, deadline = draw.random(), time.monotonic() + 300
    if kind < 0.15:
        deadline = time.monotonic() + draw.uniform(0, 8)
        while time.monotonic() < deadline and not training.ended():
            time.sleep(0.01)
        return
    while training.moment() == "start" and not training.ended() and time.monotonic() < deadline:
        time.sleep(0.05)
    if kind < 0.45:
        for _ in range(draw.randint(1, 3)):
            while not training.writes_checkpoint() and not training.ended():
                time.sleep(0.0005)
            time.sleep(draw.uniform(0, 0.003))
        while not training.writes_checkpoint() and not training.ended():
            time.sleep(0.0005)
        return
    time.sleep(draw.uniform(0, 3))


def kill_once(training: Training, draw: random.Random) -> Kill | None:
    """Kills a running training; None if it was through before."""
    number = draw.choice(KINDS)
    wait_for_moment(training, draw)
    if training.ended():
        return None
    moment = training.moment()
    if moment == "checkpoint":
        number = signal.SIGKILL
    code = training.send(number, draw)
    logged = [row["iteration"] for row in rows(training.folder)]
    kill = Kill(number.name, moment, code, int(max(logged, default=-1)))
    kill.resumed = max(checkpoints(training.folder), default=-1)
    return kill


def kill_until_through(
    work: Path, ranks: int, draw: random.Random, reference: dict[int, str], limit: int
) -> list[Kill]:
    """One training that is killed again and again, at most ``limit`` times, until it is through."""
    folder, seen = work / "killed", -1
    kills: list[Kill] = []
    waiting: list[Kill] = []
    shutil.rmtree(folder, ignore_errors=True)
    while True:
        training = Training(folder, work, ranks, draw.choice((1, 2, 3, 5)))
        kill = kill_once(training, draw) if len(kills) < limit else None
        if kill is None:
            for process in training.processes:
                process.wait()
        found = checkpoints(folder)
        new = sorted(update for update in found if update > seen)
        if new:
            same = all(fingerprint(found[update]) == reference[update] for update in new)
            for one in waiting:
                one.equal = same
            waiting, seen = [], new[-1]
        if kill is None:
            break
        kills.append(kill)
        waiting.append(kill)
        print(json.dumps(asdict(kill)), flush=True)
    failed = any(process.returncode for process in training.processes)
    same = not failed and fingerprint(folder / "model_final.pth") == reference[UPDATES - 1]
    if not same or rows(folder) != rows(work / "whole"):
        print(f"not equal at the end: {folder.rename(work / f'failed_{time.time():.0f}')}", flush=True)
        kills = [replace(kill, equal=False) for kill in kills]
    return [replace(kill, equal=kill.equal is not False) for kill in kills]


def summary(kills: list[Kill]) -> str:
    """A row for each signal and moment."""
    table = []
    for number in KINDS:
        for moment in ("start", "update", "checkpoint", "evaluation"):
            some = [kill for kill in kills if (kill.signal, kill.moment) == (number.name, moment)]
            if some:
                codes = ", ".join(str(code) for code in sorted({kill.exit_code for kill in some}))
                lost = [kill.done - kill.resumed for kill in some]
                equal = sum(bool(kill.equal) for kill in some)
                table.append((number.name, moment, len(some), codes, max(0, *lost, 0), f"{equal} of {len(some)}"))
    headers = ("signal", "during", "kills", "exit status", "most updates lost", "bit-equal")
    return tabulate(table, headers=headers, tablefmt="pipe")


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many")
    parser.add_argument("--ranks", type=int, default=1, help="processes of the training, on gloo")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path("output/kill_test"), help="folder for all of it")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a background job would ignore it
    work = args.output.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(work)
    shutil.rmtree(work / "whole", ignore_errors=True)
    whole = Training(work / "whole", work, args.ranks, 1)
    if any(process.wait() for process in whole.processes):
        print(f"the uninterrupted training failed; see {whole.log}", file=sys.stderr)
        return 2
    reference = {update: fingerprint(path) for update, path in checkpoints(work / "whole").items()}
    draw, kills = random.Random(args.seed), list[Kill]()
    while len(kills) < args.kills:
        kills += kill_until_through(work, args.ranks, draw, reference, args.kills - len(kills))
        print(f"{len(kills)} of {args.kills} kills\n{summary(kills)}", flush=True)
    return int(not all(kill.equal for kill in kills))


if __name__ == "__main__":
    sys.exit(main())
