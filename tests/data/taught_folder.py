"""A folder of pseudo labels for tiny data sets, by hand: other boxes and maps than the ground truth."""

import json
from pathlib import Path

import cv2
import numpy as np

from mtl_d2.data.reading import read_records
from mtl_d2.pseudo_labels.image_names import image_name
from mtl_d2.pseudo_labels.manifest import TaskLabels, Teacher, read_manifest, write_manifest
from mtl_d2.tasks.registry import kind_of

HEIGHT, WIDTH = 48, 80  # of the tiny data sets' images
CONFIDENT = 40  # rows of a map that the teacher is sure of


def write_folder(folder: Path, labelled: dict[str, tuple[str, ...]]) -> Path:
    """Labels of a teacher for some tasks of some data sets, given as data set -> tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset, tasks in labelled.items():
        for task in tasks:
            content = {"detection": boxes, "semantic": maps}[task](folder / dataset, dataset)
            (folder / dataset).mkdir(exist_ok=True)
            (folder / dataset / f"{task}.json").write_text(json.dumps(content))
            there = (folder / "manifest.json").exists()
            manifest = read_manifest(folder) if there else {}
            known = manifest.setdefault(
                task, TaskLabels(classes(task), {}, Teacher("t.yaml", "0", "gone.pth", "0"), {})
            )
            known.datasets[dataset] = {"images": len(content["images"])}
            write_manifest(folder, manifest)
    return folder


def classes(task):
    """Of the data sets that are labelled for it; the others' metadata do not say."""
    kind = kind_of(task)
    return kind.class_names("bdd100k_det_train") or kind.class_names("bdd100k_sem_seg_train")


def images(dataset):
    return [
        {"id": i, "file_name": image_name(r["file_name"]), "height": HEIGHT, "width": WIDTH}
        for i, r in enumerate(read_records(dataset))
    ]


def boxes(folder, dataset):
    """One box of the second class for each image."""
    annotations = [
        {"id": i, "image_id": i, "bbox": [10 + i, 8, 24, 20], "category_id": 1, "score": 0.5}
        for i in range(len(images(dataset)))
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes("detection"))]
    return {"images": images(dataset), "annotations": annotations, "categories": categories}


def maps(folder, dataset):
    """Class 1 in the rows that the teacher is sure of."""
    ids = np.full((HEIGHT, WIDTH), 1, np.uint8)
    ids[CONFIDENT:] = 255
    given = images(dataset)
    (folder / "semantic").mkdir(parents=True)
    for image in given:
        image["map"] = f"semantic/{image['id']}.png"
        assert cv2.imwrite(str(folder / image["map"]), ids)
    return {"images": given, "categories": [], "ignore_label": 255}
