"""The picture of a data set's pseudo labels."""

import cv2
import numpy as np
from predictions import HEIGHT, WIDTH, objects, scores_of

from mtl_d2.pseudo_labels.folder import attach
from mtl_d2.pseudo_labels.sheet import COLUMNS, GAP, write_sheet
from mtl_d2.pseudo_labels.sheet import WIDTH as CELL
from mtl_d2.report.objects import read_objects


def test_sheet_shows_the_labels_of_all_teachers_and_leaves_unlabelled_images_plain(streets, labels):
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for record in streets:
        cv2.imwrite(record["file_name"].replace(".jpg", ".png"), grey)
    records = [{**record, "file_name": record["file_name"].replace(".jpg", ".png")} for record in streets]
    a, b, _ = (record["file_name"] for record in records)
    labels.add("detection", {a: objects((1, 1, 7, 5, 0.9, 1))})
    labels.add("semantic", {b: scores_of(np.zeros((HEIGHT, WIDTH)), 0.9)})
    sheet = cv2.imread(str(write_sheet(labels.folder, "streets", records)))
    assert sheet.shape == (round(HEIGHT * CELL / WIDTH) + GAP, COLUMNS * (CELL + GAP), 3)
    first, second, third = (sheet[:-GAP, i * (CELL + GAP) :][:, :CELL] for i in range(3))
    assert (first[0, 0] == 128).all()
    assert first.std() > 5
    assert (second == second[0, 0]).all()
    assert not (second == 128).all()
    assert (third == 128).all()


def test_pictures_of_objects_say_how_sure_the_teacher_is(streets, labels):
    a = streets[0]["file_name"]
    labels.add("detection", {a: objects((1, 1, 7, 5, 0.9, 1))})
    (record,) = attach(streets[:1], "streets", labels.folder, ["detection"])
    pseudo = record["pseudo/annotations"]
    true = [{key: value for key, value in pseudo[0].items() if key != "score"}]
    assert [read_objects(given, HEIGHT, WIDTH).drawn[0].score for given in (pseudo, true)] == [0.9, None]
