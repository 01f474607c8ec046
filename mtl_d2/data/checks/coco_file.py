"""COCO's annotation files: whether they tell their images apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager


def shared_image_ids(name: str, records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Images of a data set's ``json_file`` that have one id: readers keep the last, with the objects of all of them.

    The file is read only if it names more files than there are records, as it then must.
    """
    path = MetadataCatalog.get(name).get("json_file")
    if not isinstance(path, str) or not PathManager.isfile(path):
        return
    content = Path(PathManager.get_local_path(path)).read_bytes()
    if content.count(b'"file_name"') <= len(records):
        return
    try:
        images = json.loads(content)["images"]
        files: dict[Any, list[str]] = {}
        for image in images:
            files.setdefault(image["id"], []).append(str(image["file_name"]))
    except (ValueError, KeyError, TypeError):  # the records came from elsewhere
        return
    shared = [(image_id, of) for image_id, of in files.items() if len(of) > 1]
    if shared:
        image_id, of = shared[0]
        yield (
            f"{path} has {len(shared)} ids that several images share, the first is {image_id!r}, of {of[0]} and "
            f"{of[1]}, of which readers keep one with the objects of both: give each image its own id there"
        )
