"""Work that goes on beside other work, in threads, in its order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """``work`` of each item in the order of the items, at most ``ahead`` of them begun and not asked for."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


class Background:
    """Iterates in a thread of its own, some items ahead of who asks for them.

    What is raised there is raised here. ``close`` ends it, and the iterator in it.
    """

    _END = object()

    def __init__(self, items: Iterable[Any], ahead: int) -> None:
        """Starts at once."""
        self._queue: queue.Queue[Any] = queue.Queue(max(ahead, 1))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        while True:
            item = self._get()
            if item is self._END:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item

    def _get(self) -> Any:
        while True:  # a wait with an end lets Ctrl-C through on all systems
            try:
                return self._queue.get(timeout=1.0)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    return self._END

    def close(self) -> None:
        """Waits for the item at work."""
        self._stop.set()
        while self._thread.is_alive():
            self._drop_one()
            self._thread.join(0.02)

    def _drop_one(self) -> None:
        with suppress(queue.Empty):
            self._queue.get_nowait()

    def _run(self, items: Iterable[Any]) -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._put(item):
                    return
            self._put(self._END)
        except BaseException as error:  # noqa: BLE001  # raised again by who iterates
            self._put(_Raised(error))
        finally:
            getattr(iterator, "close", lambda: None)()

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Sink:
    """Consumes futures in their order in a thread of its own; at most ``ahead`` of them wait."""

    def __init__(self, consume: Callable[[Any], None], ahead: int) -> None:
        """Args: ``consume``, called with each result."""
        self._consume = consume
        self._queue: queue.Queue[Future[Any] | None] = queue.Queue(max(ahead, 1))
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, future: Future[Any]) -> None:
        """Waits where too many wait already.

        Raises:
            BaseException: what an earlier one raised.
        """
        while True:
            if self._error is not None:
                raise self._error
            try:
                self._queue.put(future, timeout=0.5)
            except queue.Full:
                continue
            return

    def close(self) -> None:
        """Waits for all; raises what one of them raised."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.2)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (future := self._queue.get()) is not None:
            try:
                self._consume(future.result())
            except BaseException as error:  # noqa: BLE001  # raised again by who gives further ones
                self._error = error
                return
