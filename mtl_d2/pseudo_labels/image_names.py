"""What images are called in files of labels, on every machine."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from mtl_d2.data.addresses import shown_name
from mtl_d2.data.roots import ROOT


def image_name(path: str) -> str:
    """A record's ``file_name`` from ``$DETECTRON2_DATASETS`` on; the whole path of a file that lies elsewhere."""
    root = os.path.abspath(os.environ.get(ROOT, "datasets")) + os.sep
    absolute = os.path.abspath(path)
    return absolute.removeprefix(root)


def file_stems(paths: Sequence[str]) -> list[str]:
    """A name for each image's own files: the image's, with its number where several have the same."""
    stems = [re.sub(r"[^\w.-]", "_", os.path.splitext(shown_name(path))[0]) for path in paths]
    count = Counter(map(str.lower, stems))  # which some file systems do not tell apart
    return [f"{i:06}_{stem}" if len(count) < len(stems) else stem for i, stem in enumerate(stems)]
