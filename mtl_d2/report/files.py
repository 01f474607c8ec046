"""Names of the files that a report is made of, and how one is written so that nobody ever sees half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.json"
RESULTS = "results.json"
PICTURE_FOLDER = "pictures"
PICTURE_INDEX = "index.json"
REPORT = "report.html"


def write_atomically(path: Path, text: str) -> Path:
    """Writes a text file in one move, so that a reader finds the old one or the new one; returns `path`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
