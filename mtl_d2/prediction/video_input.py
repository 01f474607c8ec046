"""Frames of video files and cameras, by OpenCV."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mtl_d2.data.errors import DataError
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.frames import Frame
from mtl_d2.prediction.images import Image

USUAL_RATE = 25.0  # frames a second where nobody says it
ATTEMPTS = 30  # at a frame that cannot be decoded, before the rest is taken for lost
SLACK = 2  # frames that what the file says may be off by, and one
COUNTED = frozenset((".mp4", ".m4v", ".mov", ".avi"))  # they say how many frames they have


class Video:
    """The frames of a video file, with their own times."""

    def __init__(self, path: str) -> None:
        """Opens it.

        Raises:
            PredictionError: it cannot be opened, or no frame of it can be decoded.
        """
        self.path, self.name = path, Path(path).stem
        capture = cv2.VideoCapture(path)
        readable = capture.isOpened() and capture.grab()
        self.rate: float | None = _rate(capture)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        if not readable:
            raise PredictionError(
                f"--input {path}: no frame of it can be read: it is no video, is cut off, or is coded as OpenCV does "
                "not decode (AV1): convert it, as by ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        self.total: int | None = int(count) if 0 < count < 1e9 else None
        self._mistakes: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(self.path)
        rate, seconds, index, lost = self.rate or USUAL_RATE, -math.inf, 0, 0
        try:
            while True:
                there, pixels = capture.read()
                if not there:
                    if lost >= ATTEMPTS or not self._before_end(index + lost):
                        break
                    lost += 1
                    continue
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                seconds = stamp if stamp > seconds else max(seconds, 0.0) + 1 / rate  # some files have no stamps
                yield _frame(self.name, self.path, index, pixels, seconds)
                index += 1
        finally:
            capture.release()
        # Where the number of frames is made of their rate, frames of several lengths make less; their time tells.
        seen = index if Path(self.path).suffix.lower() in COUNTED else max(index, round(max(seconds, 0) * rate) + 1)
        missing = (self.total or 0) - seen
        if missing >= SLACK:
            self._mistakes.append(
                f"{self.path}: {index} frames could be read, up to {max(seconds, 0):.2f} s; about {missing} more, of "
                "which the file speaks, are cut off or broken"
            )

    def _before_end(self, index: int) -> bool:
        return self.total is not None and index < self.total

    def mistakes(self) -> list[str]:
        """Frames that are not there, known when all have been read."""
        return self._mistakes


class Camera:
    """The frames of a camera as they come, until somebody stops it."""

    total: int | None = None

    def __init__(self, index: int) -> None:
        """Opens it.

        Raises:
            PredictionError: there is none, or it gives no picture.
        """
        self.name = f"camera{index}"
        self._capture = cv2.VideoCapture(index)
        if not (self._capture.isOpened() and self._capture.grab()):
            self._capture.release()
            there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
            known = f"there are {', '.join(there)}" if there else "this machine has none"
            raise PredictionError(f"--input {index}: camera {index} is not there, or another program has it; {known}")
        self.rate: float | None = _rate(self._capture)

    def __iter__(self) -> Iterator[Frame]:
        index, start = 0, time.monotonic()
        try:
            while True:
                there, pixels = self._capture.read()
                if not there:
                    break
                yield _frame(self.name, self.name, index, pixels, time.monotonic() - start)
                index += 1
        finally:
            self._capture.release()

    def mistakes(self) -> list[str]:
        """None: a camera ends when it ends."""
        return []


def _frame(name: str, path: str, index: int, pixels: object, seconds: float) -> Frame:
    return Frame(f"{name}/{index:06}", path, partial(_rgb, pixels, path, index), seconds)


def _rgb(pixels: object, path: str, index: int) -> Image:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise DataError(f"{path}: frame {index} is no picture of 8 bits")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _rate(capture: cv2.VideoCapture) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0.1 <= rate <= 1000 else USUAL_RATE
