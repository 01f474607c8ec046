"""Lists of images as data sets publish them, in text files."""

from __future__ import annotations

from pathlib import Path

from mtl_d2.data.errors import DataError


def read_lines(path: Path, advice: str) -> list[str]:
    """The lines of a list, less those that are empty; Windows' ends of lines and mark of UTF-8 are taken off.

    Args:
        path: of the list.
        advice: what to do where it is missing.

    Raises:
        DataError: it is missing, is no text in UTF-8, or names no image.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(f"list {path} not found: {advice}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"list {path} is no text in UTF-8 ({error.reason}): fetch it again, or save it as UTF-8"
        ) from error
    named = [line.strip() for line in lines if line.strip()]
    if not named:
        raise DataError(f"list {path} names no image: fetch it again")
    return named
