"""Folders of pseudo labels as the tool leaves them, made by hand."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from predictions import HEIGHT, WIDTH

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.file_digests import digest_of_file
from mtl_d2.pseudo_labels.folder import form_of
from mtl_d2.pseudo_labels.image_names import image_name
from mtl_d2.pseudo_labels.manifest import TaskLabels, Teacher, read_manifest, write_manifest
from mtl_d2.pseudo_labels.places import files_folder, labels_file
from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.tasks.registry import kind_of

CLASSES = {"detection": ["car", "bus"], "instance": ["car", "bus"], "semantic": ["road", "sky", "car"]}


@pytest.fixture
def streets(tmp_path, monkeypatch):
    """Three records of a registered data set below the folder of data sets; their images are not there."""
    (tmp_path / "streets").mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    records = [
        {"file_name": str(tmp_path / "streets" / f"{name}.jpg"), "height": HEIGHT, "width": WIDTH, "image_id": name}
        for name in "abc"
    ]
    register_anew("streets", lambda: records, thing_classes=CLASSES["detection"], stuff_classes=CLASSES["semantic"])
    return records


@pytest.fixture
def labels(tmp_path):
    """A folder; ``labels.add(task, {image: prediction})`` writes a teacher's labels into it."""
    return Labels(tmp_path / "labels")


class Labels:
    def __init__(self, folder):
        self.folder = folder
        self.weights = folder.parent / "teacher.pth"
        self.weights.write_bytes(b"weights")
        folder.mkdir()

    def add(self, task, predictions, finished=True):
        kind, folder = kind_of(task), files_folder(self.folder, "streets", task)
        folder.mkdir(parents=True)
        form = form_of(kind)
        entries = [
            {
                "file_name": image_name(path),
                "height": HEIGHT,
                "width": WIDTH,
                **form.write(form.label(prediction, Thresholds()), folder, f"image{i}"),
            }
            for i, (path, prediction) in enumerate(predictions.items())
        ]
        path = labels_file(self.folder, "streets", task)
        path.write_text(json.dumps(form.content(entries, CLASSES[task])))
        teacher = Teacher("teacher.yaml", "0", str(self.weights), digest_of_file(self.weights))
        there = (self.folder / "manifest.json").exists()
        manifest = read_manifest(self.folder) if there else {}
        counts = {"images": len(entries)} if finished else None
        manifest[task] = TaskLabels(CLASSES[task], {}, teacher, {"streets": counts})
        write_manifest(self.folder, manifest)
        return path
