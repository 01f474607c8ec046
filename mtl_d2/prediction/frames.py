"""What is predicted on: the images of files and folders, or the frames of a video or a camera, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mtl_d2.data.errors import DataError
from mtl_d2.prediction.images import Image, read_image


@dataclass(frozen=True)
class Frame:
    """One image.

    Attributes:
        name: without an end, unique among the source's; may have folders in it.
        path: of the file that it is from.
        read: gives its pixels (H, W, 3) RGB; raises ``DataError``, in words, where they cannot be read.
        seconds: since the first frame of a video; None of images.
    """

    name: str
    path: str
    read: Callable[[], Image]
    seconds: float | None = None


class Source(Protocol):
    """Some frames.

    Attributes:
        total: how many there are, as far as is known; None = nobody knows.
        rate: frames a second; None of images, which become pictures and no video.
        name: of what is made of all of them.
    """

    total: int | None
    rate: float | None
    name: str

    def __iter__(self) -> Iterator[Frame]:
        """Each frame, in its order."""

    def mistakes(self) -> list[str]:
        """A line for what could not be read, known at the end."""


class ImageFiles:
    """Files of images."""

    rate: float | None = None
    name = "pictures"

    def __init__(self, paths: list[Path], names: list[str]) -> None:
        """Args: the files, and the name of each."""
        self.paths, self.names = paths, names
        self.total: int | None = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        for path, name in zip(self.paths, self.names, strict=True):
            yield Frame(name, str(path), lambda path=path: _read(path))  # type: ignore[misc]

    def mistakes(self) -> list[str]:
        """Each is said where it is read."""
        return []


def _read(path: Path) -> Image:
    try:
        return read_image(str(path))
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot read image {path} ({error})") from error
