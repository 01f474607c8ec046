"""A list of work divided among processes that end with the caller, however it ends."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_jobs(make: Callable[[Item], Result], work: Sequence[Item], jobs: int) -> Iterator[tuple[Item, Result]]:
    """Applies ``make`` to each item.

    Args:
        make: can be pickled, as can its results.
        work: the items.
        jobs: number of processes, >= 1; with 1 the caller's own does it.

    Yields:
        Items and results, as they come.

    Raises:
        OSError: raised by ``make``, or a process ended early.
    """
    if jobs == 1:
        yield from ((item, make(item)) for item in work)
        return
    # Never forked from the caller, whose threads (OpenCV's among them) would be missing in the child.
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if server else "spawn")
    context.set_forkserver_preload(["mtl_d2.data.sample_scenes.generate"])
    processes, readers = [], []
    try:
        for k in range(min(jobs, len(work))):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_work_off, args=(make, work[k::jobs], writer), daemon=True)
            process.start()
            writer.close()
            processes.append(process)
            readers.append(reader)
        yield from _receive(readers)
        for process in processes:
            process.join()
            if process.exitcode:
                raise OSError(f"a rendering process ended early (exit code {process.exitcode}): run it again")
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _receive(readers: list[Connection]) -> Iterator[tuple[Any, Any]]:
    waiting = list(readers)
    while waiting:
        for reader in wait(waiting):
            assert isinstance(reader, Connection)
            try:
                message = reader.recv()
            except EOFError:
                waiting.remove(reader)
                continue
            if isinstance(message, OSError):
                raise message
            yield message


def _work_off(make: Callable[[Item], Result], work: Sequence[Item], results: Connection) -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends this process
    try:
        for item in work:
            results.send((item, make(item)))
    except OSError as error:
        results.send(error)
