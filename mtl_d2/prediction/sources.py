"""From what a user names to frames: a file, a folder, a pattern, a video or a camera."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.frames import ImageFiles, Source
from mtl_d2.prediction.video_input import Camera, Video

MANIFEST = "predictions.json"  # in a folder that predictions were written to
VIDEOS = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".ts", ".wmv", ".flv", ".ogv", ".gif")
)
IMAGES = frozenset((".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"))


def open_source(given: Sequence[str], output: Path) -> Source:
    """The frames that the words behind ``--input`` name.

    Args:
        given: one or several files, folders and patterns; or one video, or one camera by its number.
        output: folder that predictions are written to.

    Raises:
        PredictionError: there is nothing to predict on, or what is written would be read by the next run.
    """
    if not all(given):
        raise PredictionError("--input: one of its words is empty: name an image, a folder, a video or a camera")
    videos = [word for word in given if _is_video(word)]
    cameras = [word for word in given if word.isdigit() and not Path(word).exists()]
    if (videos or cameras) and len(given) > 1:
        raise PredictionError(f"--input: give {(videos or cameras)[0]} alone; a video or a camera is a run of its own")
    if cameras:
        return Camera(int(cameras[0]))
    if videos:
        _require_file(videos[0])
        return Video(videos[0])
    found: dict[Path, str] = {}
    for word in given:
        for path, name in _images(word, output):
            found.setdefault(path, name)
    return ImageFiles(list(found), _distinct(found.values()))


def _is_video(word: str) -> bool:
    path = Path(word)
    return path.suffix.lower() in VIDEOS and not path.is_dir() and (path.exists() or not glob.has_magic(word))


def _images(word: str, output: Path) -> list[tuple[Path, str]]:
    """The images that a word names, with names; those of a folder have its inner folders in them."""
    path = Path(word)
    if path.is_dir():
        return _in_folder(path, output)
    if glob.has_magic(word) and not path.exists():
        files = [Path(one) for one in sorted(glob.glob(word, recursive=True))]
        files = [one for one in files if one.suffix.lower() in IMAGES and not one.is_dir() and not _predicted(one)]
        if not files:
            raise PredictionError(f"--input {word}: the pattern matches no image ({_kinds()}): correct it")
        for one in files:
            _require_outside(one.parent, output, word)
        return [(one, one.stem) for one in files]
    _require_file(word)
    _require_outside(path.parent, output, word, exactly=True)
    return [(path, path.stem)]


def _in_folder(folder: Path, output: Path) -> list[tuple[Path, str]]:
    if (folder / MANIFEST).is_file():
        raise PredictionError(f"--input {folder} holds predictions of an earlier run: name the folder of its images")
    _require_outside(folder, output, str(folder))
    files: list[Path] = []
    others: list[str] = []
    seen = {os.path.realpath(folder)}  # links that lead back are not followed
    for place, folders, names in os.walk(folder, followlinks=True):
        # Pictures that an earlier run has drawn are no input of this one.
        inner = sorted(one for one in folders if not one.startswith(".") and not _is_output(Path(place, one)))
        real = {one: os.path.realpath(Path(place, one)) for one in inner}
        folders[:] = [one for one in inner if real[one] not in seen]
        seen.update(real.values())
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGES and not name.startswith("."):
                files.append(Path(place, name))
            elif Path(name).suffix.lower() in VIDEOS:
                others.append(str(Path(place, name)))
    if not files:
        hint = f"; for its videos name one, such as {others[0]}" if others else ""
        raise PredictionError(f"--input {folder} has no images ({_kinds()}){hint}: name the folder that holds them")
    return [(path, str(path.relative_to(folder).with_suffix(""))) for path in files]


def _is_output(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _predicted(path: Path) -> bool:
    return any(_is_output(folder) for folder in path.absolute().parents)


def _require_outside(folder: Path, output: Path, word: str, exactly: bool = False) -> None:
    """Whether what is written stays out of what is read."""
    inner, outer = output.resolve(), folder.resolve()
    if inner == outer or (not exactly and outer in inner.parents):
        raise PredictionError(
            f"--output {output} is inside --input {word}, so that its pictures would be input of the next run: name a "
            "folder outside of it"
        )


def _require_file(word: str) -> None:
    if not Path(word).is_file():
        what = "is a folder" if Path(word).is_dir() else "is not there"
        raise PredictionError(
            f"--input {word} {what}: name an image, a folder of images, a pattern in quotes, a video, or a camera by "
            "its number, such as 0"
        )


def _distinct(names: Iterable[str]) -> list[str]:
    """Names of which no two are the same: further ones of a name get a number."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        while count and f"{name}_{count}" in seen:
            count += 1
        distinct.append(f"{name}_{count}" if count else name)
        seen.setdefault(distinct[-1], 1)
    return distinct


def _kinds() -> str:
    return "jpg, png, bmp, tif, webp, ppm"
