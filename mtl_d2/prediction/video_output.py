"""Videos of drawn frames: as fast as the source, of even sizes, playable whenever they are closed."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.images import Image

BITS_A_PIXEL = 0.25  # of a frame: 6 Mbit a second at 1280x720 and 25 frames a second
HURRY = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}  # of libvpx
MOST_REPEATED = 10_000  # times a frame, where stamps leap


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing goes to the process's standard error inside: OpenCV says there what it says by its return values."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Encoder(Protocol):
    """Writes frames of one size."""

    def write(self, frame: Image) -> None:
        """One frame, (H, W, 3) RGB."""

    def close(self) -> None:
        """Ends the file."""


class _OpenCV:
    def __init__(self, path: Path, fourcc: str, rate: float, width: int, height: int) -> None:
        code = cv2.VideoWriter.fourcc(*fourcc)
        with _quiet():
            self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, (width, height))
        if not self._writer.isOpened():
            raise OSError(f"OpenCV has no encoder for {fourcc} here, or the file cannot be written")

    def write(self, frame: Image) -> None:
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


class _PyAV:
    """PyAV brings FFmpeg's libraries, among them x264 under the GPL; it is used where somebody has installed it."""

    def __init__(self, path: Path, codec: str, options: dict[str, str], rate: float, width: int, height: int) -> None:
        import av

        self._av: Any = av
        self._container = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream(codec, Fraction(rate).limit_denominator(10_000))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.bit_rate = int(BITS_A_PIXEL * width * height * rate)
        self._stream.codec_context.options = options
        self._stream.codec_context.thread_count = 1  # several take twice the time of the processors together

    def write(self, frame: Image) -> None:
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def _vp8(path: Path, rate: float, width: int, height: int) -> Encoder:
    """By PyAV where it is installed, whose encoder can be told to hurry, and takes a fifth of the time."""
    if has_pyav():
        return _PyAV(path, "libvpx", HURRY, rate, width, height)
    return _OpenCV(path, "VP80", rate, width, height)


def has_pyav() -> bool:
    """Whether the package ``av`` is installed."""
    return importlib.util.find_spec("av") is not None


@dataclass(frozen=True)
class Codec:
    """A way to write videos.

    Attributes:
        suffix: of files.
        open: an encoder of path, frames a second, width and height.
        plays: where, in words.
        needs: a module that has to be installed.
    """

    suffix: str
    open: Callable[[Path, float, int, int], Encoder]
    plays: str
    needs: str = ""


CODECS = {
    "vp8": Codec(".webm", _vp8, "in browsers and players"),
    "mpeg4": Codec(".mp4", lambda path, *of: _OpenCV(path, "mp4v", *of), "in players, not in browsers; quick to write"),
    "mjpeg": Codec(".avi", lambda path, *of: _OpenCV(path, "MJPG", *of), "in players, not in browsers; large"),
    "h264": Codec(
        ".mp4",
        lambda path, *of: _PyAV(path, "libx264", {"preset": "veryfast"}, *of),
        "everywhere; needs PyAV (pip install av), which bundles GPL encoders",
        "av",
    ),
}


def check_codec(name: str) -> None:
    """Raises ``PredictionError`` where this machine cannot write a codec; the message says which it can."""
    if not can_write(name):
        known = ", ".join(other for other in CODECS if other != name and can_write(other)) or "none of the others"
        needs = CODECS[name].needs
        why = f"needs the package {needs!r}, which is not installed" if needs else "is not in this build of OpenCV"
        raise PredictionError(f"--codec {name} {why}: this machine can write {known}")


def can_write(name: str) -> bool:
    """Whether two small frames of a codec can be written, and read again."""
    if CODECS[name].needs and importlib.util.find_spec(CODECS[name].needs) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"small{CODECS[name].suffix}")
        try:
            encoder = CODECS[name].open(path, 25.0, 64, 64)
            for _ in range(2):
                encoder.write(np.zeros((64, 64, 3), np.uint8))
            encoder.close()
        except Exception:  # noqa: BLE001  # every library has its own way of failing
            return False
        return path.is_file() and path.stat().st_size > 300  # OpenCV leaves a header where an encoder is missing


class VideoFile:
    """A video whose frames stand at the times of their source.

    The file has a constant rate: a frame is shown until the next one's time, and one that comes too soon for the rate
    stands at the next place that is free, so that none is left out.
    """

    def __init__(self, path: Path, codec: str, rate: float) -> None:
        """Nothing is written before the first frame, whose size, made even, is that of all.

        Args:
            path: of the file.
            codec: a name of ``CODECS``.
            rate: frames a second.
        """
        self.path, self._codec, self._rate = path, codec, rate
        self._encoder: Encoder | None = None
        self._size = (0, 0)
        self._last: Image | None = None
        self._start = 0.0
        self.written = 0

    def write(self, frame: Image, seconds: float) -> None:
        """A frame (H, W, 3) RGB at its time.

        Raises:
            PredictionError: the file cannot be written.
        """
        even = _even(frame)
        if self._encoder is None:
            self._size, self._start = even.shape[:2], seconds
            try:
                self._encoder = CODECS[self._codec].open(self.path, self._rate, even.shape[1], even.shape[0])
            except Exception as error:
                raise PredictionError(f"{self.path} cannot be written: {error}") from error
        if even.shape[:2] != self._size:
            even = np.asarray(cv2.resize(even, self._size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        place = round((seconds - self._start) * self._rate)
        for _ in range(min(place - self.written, MOST_REPEATED)):
            assert self._last is not None
            self._put(self._last)
        self._put(even)
        self._last = even

    def _put(self, frame: Image) -> None:
        assert self._encoder is not None
        self._encoder.write(frame)
        self.written += 1

    def close(self) -> None:
        """Ends the file, which can be played from then on."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def _even(frame: Image) -> Image:
    """Codecs have colours of two by two pixels: an odd side gets one more row or column, like its last."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.asarray(cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
