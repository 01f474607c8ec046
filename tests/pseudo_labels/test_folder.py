"""What a training gets of a folder of pseudo labels."""

import json

import cv2
import numpy as np
import pytest
from detectron2.structures import BoxMode
from predictions import HEIGHT, WIDTH, objects, scores_of
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mtl_d2.data.errors import DataError
from mtl_d2.pseudo_labels.folder import attach, digest, tasks_in


def test_records_get_objects_under_prefixed_keys_and_are_left_as_they_were(streets, labels):
    a, b, c = (record["file_name"] for record in streets)
    labels.add("detection", {a: objects((1, 1, 5, 4, 0.9, 1)), b: objects(), c: objects((0, 0, 2, 2, 0.29, 0))})
    before = [dict(record) for record in streets]
    made = attach(streets, "streets", labels.folder, ["detection"])
    assert streets == before
    assert made[0].pop("pseudo/annotations") == [
        {"bbox": [1, 1, 4, 3], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "score": 0.9, "iscrowd": 0}
    ]
    assert made[1].pop("pseudo/annotations") == made[2].pop("pseudo/annotations") == []
    assert made == before


def test_records_get_maps_with_the_id_of_unsure_pixels(streets, labels):
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
    labels.add("semantic", {r["file_name"]: scores_of(ids, 0.9) for r in streets})
    for record in attach(streets, "streets", labels.folder, ["semantic"]):
        assert record["pseudo/ignore_label"] == 255
        assert (cv2.imread(record["pseudo/sem_seg_file_name"], cv2.IMREAD_UNCHANGED) == ids).all()


def test_teachers_of_different_tasks_share_a_folder(streets, labels):
    labels.add("detection", {r["file_name"]: objects() for r in streets})
    labels.add("semantic", {r["file_name"]: scores_of(np.zeros((HEIGHT, WIDTH)), 0.9) for r in streets})
    assert tasks_in(labels.folder, "streets", ["semantic", "depth", "detection"]) == ("semantic", "detection")
    assert tasks_in(labels.folder, "highways", ["semantic"]) == ()
    added = [set(r) - set(streets[0]) for r in attach(streets, "streets", labels.folder, ["detection", "depth"])]
    assert added == [{"pseudo/annotations"}] * 3
    assert attach(streets, "highways", labels.folder, ["detection"]) == streets


def test_masks_of_an_instance_teacher_serve_a_detection_student_too(streets, labels):
    labels.add("instance", {r["file_name"]: objects((1, 2, 4, 5, 0.9, 0), masks=True) for r in streets})
    for tasks in (["detection"], ["detection", "instance"]):
        (annotation,) = attach(streets, "streets", labels.folder, tasks)[0]["pseudo/annotations"]
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[2:5, 1:4] = True
        assert (coco_mask.decode(annotation["segmentation"]) == expected).all()


def test_labels_of_the_students_own_task_come_before_those_that_hold_them(streets, labels):
    """A folder with boxes of one teacher and masks of another."""
    a = streets[0]["file_name"]
    labels.add("instance", {a: objects((1, 2, 4, 5, 0.9, 0), masks=True)})
    labels.add("detection", {a: objects((1, 2, 4, 5, 0.8, 1))})
    for tasks, score in ((["detection"], 0.8), (["detection", "instance"], 0.9)):
        (annotation,) = attach(streets[:1], "streets", labels.folder, tasks)[0]["pseudo/annotations"]
        assert annotation["score"] == score


def test_digest_is_of_what_a_training_uses(streets, labels):
    path = labels.add("detection", {r["file_name"]: objects((1, 1, 5, 4, 0.9, 1)) for r in streets})
    before = digest(labels.folder, ["streets"], ["detection"])
    labels.add("semantic", {r["file_name"]: scores_of(np.zeros((HEIGHT, WIDTH)), 0.9) for r in streets})
    assert digest(labels.folder, ["streets"], ["detection"]) == before
    assert digest(labels.folder, ["streets"], ["detection", "semantic"]) != before
    path.write_text(path.read_text().replace("0.9", "0.8"))
    assert digest(labels.folder, ["streets"], ["detection"]) != before


def test_boxes_alone_are_no_label_of_an_instance_student(streets, labels):
    labels.add("detection", {r["file_name"]: objects((1, 2, 4, 5, 0.9, 0)) for r in streets})
    assert tasks_in(labels.folder, "streets", ["instance"]) == ()
    assert attach(streets, "streets", labels.folder, ["instance"]) == streets


def test_detection_file_is_read_by_pycocotools(streets, labels, capsys):
    path = labels.add("detection", {r["file_name"]: objects((1, 1, 5, 4, 0.9, 1)) for r in streets})
    coco = COCO(str(path))
    assert [coco.cats[a["category_id"]]["name"] for a in coco.anns.values()] == ["bus"] * 3
    assert [image["file_name"] for image in coco.imgs.values()] == [f"streets/{name}.jpg" for name in "abc"]


def test_labels_are_found_where_the_folder_of_data_sets_has_moved(streets, labels, tmp_path, monkeypatch):
    labels.add("detection", {r["file_name"]: objects() for r in streets})
    monkeypatch.setenv("DETECTRON2_DATASETS", "/elsewhere")
    moved = [{**r, "file_name": r["file_name"].replace(str(tmp_path), "/elsewhere")} for r in streets]
    assert all("pseudo/annotations" in r for r in attach(moved, "streets", labels.folder, ["detection"]))


def test_images_without_labels_are_counted_and_stay_as_they_are(streets, labels, caplog):
    labels.add("detection", {streets[0]["file_name"]: objects()})
    made = attach(streets, "streets", labels.folder, ["detection"])
    assert ["pseudo/annotations" in record for record in made] == [True, False, False]
    assert f"2 of 3 images have no pseudo labels for task 'detection', the first is {streets[1]['file_name']}" in (
        caplog.text
    )


def test_weights_that_have_changed_since_are_told_and_missing_ones_are_not(streets, labels, caplog):
    labels.add("detection", {r["file_name"]: objects() for r in streets})
    attach(streets, "streets", labels.folder, ["detection"])
    assert not caplog.records
    labels.weights.write_bytes(b"others")
    attach(streets, "streets", labels.folder, ["detection"])
    (record,) = caplog.records
    assert f"made by other weights than {labels.weights} now has" in record.message
    labels.weights.unlink()
    attach(streets, "streets", labels.folder, ["detection"])
    assert len(caplog.records) == 1


def refusal(streets, labels, task="detection", **classes):
    with pytest.raises(DataError) as raised:
        attach(streets, "streets", labels.folder, [task], **classes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_labels_of_no_image_of_the_data_set_are_refused(streets, labels):
    labels.add("detection", {"/other/a.jpg": objects()})
    assert "3 of 3 images have no pseudo labels" in refusal(streets, labels)


def test_other_classes_than_the_students_are_refused(streets, labels):
    labels.add("detection", {r["file_name"]: objects() for r in streets})
    said = refusal(streets, labels, classes={"thing_classes": ["car", "truck"]})
    assert "class 1 is 'bus' in the one and 'truck' in the other" in said


def test_unfinished_labels_are_refused(streets, labels):
    labels.add("detection", {r["file_name"]: objects() for r in streets}, finished=False)
    assert "are not finished" in refusal(streets, labels)


def test_folder_without_a_manifest_is_refused(streets, labels):
    assert "has no manifest.json" in refusal(streets, labels)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 2, "tasks": {}}', '{"format": 1}', '{"format": 1, "tasks": {"detection": {}}}'],
)
def test_manifest_that_is_cut_or_none_is_refused(streets, labels, text):
    (labels.folder / "manifest.json").write_text(text)
    assert "manifest.json cannot be read (" in refusal(streets, labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("annotations"), "it lacks 'annotations'"),
        (lambda content: content["annotations"][0].update(category_id=3), "it lacks 3"),
        (lambda content: content["annotations"][0].update(image_id=9), "it lacks 9"),
        (lambda content: content["annotations"][0].update(bbox=[1, 1, 0, 2]), "annotation 1 has the box [1, 1, 0, 2]"),
        (lambda content: content["annotations"][0].update(bbox=[1, float("nan"), 3, 2]), "annotation 1 has the box"),
        (lambda content: content["images"][0].update(height=None), "int()"),
        (lambda content: content["images"][0].update(height=5), "but its pseudo labels for task 'detection' are of"),
    ],
    ids=["no annotations", "unknown class", "unknown image", "no area", "not finite", "no size", "other size"],
)
def test_labels_that_do_not_fit_are_refused(streets, labels, change, said):
    path = labels.add("detection", {r["file_name"]: objects((1, 1, 5, 4, 0.9, 1)) for r in streets})
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert said in refusal(streets, labels)


def test_maps_that_are_gone_are_counted(streets, labels):
    labels.add("semantic", {r["file_name"]: scores_of(np.zeros((HEIGHT, WIDTH)), 0.9) for r in streets})
    (labels.folder / "streets/semantic/image1.png").unlink()
    assert "names 1 files that are not there, the first is" in refusal(streets, labels, "semantic")
