"""Reading, network, drawing and writing at the same time, in threads; only the network is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mtl_d2.data.errors import DataError
from mtl_d2.prediction.frames import Frame
from mtl_d2.prediction.images import Image
from mtl_d2.prediction.network import Network
from mtl_d2.prediction.output_folder import Drawn, OutputFolder
from mtl_d2.prediction.stages import Background, Sink, ordered


@dataclass(frozen=True)
class _Ready:
    frame: Frame
    image: Image | None = None
    sample: dict[str, Any] | None = None
    why: str = ""


@dataclass
class Counts:
    """What came of a run.

    Attributes:
        frames: that were predicted.
        failed: why others were not, a line each.
        stopped: whether Ctrl-C ended it.
    """

    frames: int
    failed: list[str]
    stopped: bool = False


def predict(
    network: Network,
    source: Iterable[Frame],
    output: OutputFolder,
    *,
    batch: int = 1,
    workers: int = 2,
    most: int | None = None,
    told: Callable[[int], None] = lambda count: None,
) -> Counts:
    """Predicts all frames of a source and writes what is asked for; Ctrl-C ends it with what there is so far.

    Args:
        network: of a training.
        source: frames in their order.
        output: draws and writes.
        batch: frames that cross the network together, where they have one size.
        workers: threads that read, and as many that draw and write.
        most: frames to predict; None = all.
        told: called with the number of frames that are written, after each.
    """
    counts = Counts(0, [])

    def add(drawn: Drawn) -> None:
        output.add(drawn)
        if drawn.prediction is None:
            counts.failed.append(drawn.why)
        else:
            counts.frames += 1
        told(counts.frames)

    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        frames = islice(source, most)
        ahead = batch + workers
        ready = Background(ordered(readers, lambda frame: _read(network, frame), frames, ahead), ahead)
        sink, first = Sink(add, 2 * workers + batch), True
        try:
            for group in _batches(ready, batch):
                outputs = iter(network.outputs([one.sample for one in group if one.sample is not None]))
                for one in group:
                    made = next(outputs) if one.sample is not None else None
                    finished = writers.submit(_finish, network, output, one, made)
                    if first:  # whose range of depth has the colours that all frames have
                        wait([finished])
                        first = made is None
                    sink.put(finished)
        except KeyboardInterrupt:
            counts.stopped = True
        finally:
            ready.close()
            _close(sink, output, counts)
    return counts


def _close(sink: Sink, output: OutputFolder, counts: Counts) -> None:
    try:
        sink.close()
    except BaseException:
        output.close(finished=False)
        raise
    output.close(finished=not counts.stopped)


def _read(network: Network, frame: Frame) -> _Ready:
    try:
        image = frame.read()
        return _Ready(frame, image, network.sample(image))
    except DataError as error:
        return _Ready(frame, why=" ".join(str(error).split()))


def _finish(network: Network, output: OutputFolder, ready: _Ready, made: dict[str, Any] | None) -> Drawn:
    if made is None or ready.sample is None or ready.image is None:
        return Drawn(ready.frame, why=ready.why)
    return output.make(ready.frame, ready.image, network.results(made, ready.sample))


def _batches(items: Iterable[_Ready], size: int) -> Iterator[list[_Ready]]:
    """Up to ``size`` frames whose samples have one size, so that none is padded for another's sake."""
    group: list[_Ready] = []
    for item in items:
        if group and (len(group) >= size or _shape(item) != _shape(group[0])):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _shape(item: _Ready) -> Any:
    return None if item.sample is None else item.sample["image"].shape
