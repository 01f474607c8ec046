"""Good data raise no alarm; data that are broken on purpose are named by what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl_d2.inspection import Limits, look_at_data

from .conftest import TEST, TRAIN

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
FEW = Limits(samples=1, statistics=40, updates=10)


def look(streets, *words):
    return look_at_data(streets.cfg(*words), streets.folder / "page", FEW)


def rewritten(streets, key, records, change):
    """Files of ``key`` of some records, changed, in a folder of their own."""
    for record in records:
        old = Path(record[key])
        new = streets.folder / f"{old.parent.name}_{old.name}"
        if old.suffix == ".npy":
            np.save(new, change(np.load(old)))
        else:
            Image.fromarray(change(np.array(Image.open(old)))).save(new)
        record[key] = str(new)


def test_good_data_raise_no_alarm(streets):
    findings = look(streets)
    assert (findings.refused, findings.warned, findings.all_suspicious()) == ([], [], [])


def boxes_are_the_image(streets):
    for record in streets.train:
        for annotation in record["annotations"][:2]:
            annotation["bbox"] = [0.0, 0.0, 96.0, 64.0]


def boxes_of_another_size(streets):
    for record in streets.train:
        for annotation in record["annotations"]:
            x0, y0, x1, y1 = annotation["bbox"]
            annotation["bbox"] = [x0 / 2, y0, x1 / 2, y1]
            annotation["segmentation"] = [
                [v / 2 if i % 2 == 0 else v for i, v in enumerate(p)] for p in annotation["segmentation"]
            ]


def objects_twice(streets):
    for record in streets.train:
        record["annotations"] += record["annotations"]


def masks_are_boxes(streets):
    for record in streets.both():
        for annotation in record["annotations"]:
            x0, y0, x1, y1 = annotation["bbox"]
            annotation["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]


def ids_of_objects_in_another_order(streets):
    for record in streets.test:
        for annotation in record["annotations"]:
            annotation["category_id"] = (annotation["category_id"] + 1) % 3


def ids_of_pixels_in_another_order(streets):
    table = np.array([1, 0, 3, 4, 2], np.uint8)
    rewritten(streets, "sem_seg_file_name", streets.test, lambda ids: table[ids])


def boxes_and_pixels_do_not_fit(streets):
    table = np.array([0, 1, 3, 4, 2], np.uint8)
    rewritten(streets, "sem_seg_file_name", streets.both(), lambda ids: table[ids])


def maps_upside_down(streets):
    rewritten(streets, "sem_seg_file_name", streets.both(), lambda ids: ids[::-1].copy())


def depth_in_centimetres(streets):
    rewritten(streets, "depth_file_name", streets.both(), lambda depth: depth * 100)


def depth_of_one_set_in_another_unit(streets):
    rewritten(streets, "depth_file_name", streets.test, lambda depth: depth / 10)


def disparity_as_depth(streets):
    def inverted(depth):
        return np.where(depth > 0, 30 / np.maximum(depth, 1e-3), 0.05).astype(np.float32)

    rewritten(streets, "depth_file_name", streets.both(), inverted)


def depth_in_millimetres(streets):
    rewritten(streets, "depth_file_name", streets.both(), lambda depth: depth * 1000)


def normals_face_down(streets):
    rewritten(streets, "normals_file_name", streets.both(), lambda n: n * np.float32([1, -1, 1]))


def normals_face_away(streets):
    rewritten(streets, "normals_file_name", streets.both(), lambda n: -n)


def normals_of_other_lengths(streets):
    rewritten(streets, "normals_file_name", streets.both(), lambda n: n * 2)


def images_trained_on_and_tested_on(streets):
    for i in range(3):
        copied = streets.folder / f"another_name_{i}.png"
        copied.write_bytes(Path(streets.train[i]["file_name"]).read_bytes())
        streets.test[i]["file_name"] = str(copied)


def images_trained_on_at_another_size(streets):
    for i in range(2):
        written = streets.folder / f"smaller_{i}.png"
        Image.open(streets.train[i]["file_name"]).resize((480, 320), Image.Resampling.BICUBIC).save(written)
        streets.test[i] = {"file_name": str(written), "height": 320, "width": 480, "annotations": []}


def void_everywhere(streets):
    def mostly_void(ids):
        return np.where(np.arange(ids.size).reshape(ids.shape) % 50 == 0, ids, 255).astype(np.uint8)

    rewritten(streets, "sem_seg_file_name", streets.both(), mostly_void)


def maps_of_0_and_255(streets):
    rewritten(streets, "sem_seg_file_name", streets.both(), lambda ids: np.where(ids > 1, 0, 255).astype(np.uint8))


def black_images(streets):
    rewritten(streets, "file_name", streets.train, lambda image: image * 0)


def boxes_off_the_image(streets):
    for record in streets.train:
        x0, y0, x1, y1 = record["annotations"][0]["bbox"]
        record["annotations"][0]["bbox"] = [x0 + 200, y0, x1 + 200, y1]


def one_class_for_all(streets):
    for record in streets.train:
        for annotation in record["annotations"]:
            annotation["category_id"] = 0


# What is broken, the data set of which it is said ("" = of several together), and words of the sentence.
BROKEN = (
    (boxes_are_the_image, TRAIN, "are the whole image"),
    (boxes_of_another_size, TRAIN, "of the width of its image"),
    (objects_twice, TRAIN, "128 of its 256 objects are there twice"),
    (masks_are_boxes, TRAIN, "fill their boxes"),
    (one_class_for_all, TRAIN, "all its objects are of the class 'car'"),
    (ids_of_objects_in_another_order, "", "instance: 'car' of streets_test looks like 'sign' of streets_train"),
    (ids_of_pixels_in_another_order, "", "semantic: 'sky' of streets_test looks like 'road' of streets_train"),
    (boxes_and_pixels_do_not_fit, TRAIN, "instance and semantic do not fit"),
    (maps_upside_down, TRAIN, "'sky' lies below 'road' in 100 %"),
    (depth_in_centimetres, TRAIN, "98 % of its depth is beyond"),
    (depth_of_one_set_in_another_unit, "", "the median depth in metres is"),
    (disparity_as_depth, TRAIN, "is it disparity or inverse depth"),
    (normals_face_down, TRAIN, "the lower third of the images faces down"),
    (images_trained_on_and_tested_on, TEST, "3 of its images are trained on as well, under other names"),
    (images_trained_on_at_another_size, TEST, "2 of the 24 of its images looked at look like images that are"),
    (void_everywhere, TRAIN, "98 % of the pixels of the 32 samples looked at are void"),
    (black_images, TRAIN, "32 of 32 images looked at are of one colour"),
)


@pytest.mark.parametrize(("broken", "of", "words"), BROKEN, ids=[case[0].__name__ for case in BROKEN])
def test_what_is_broken_is_named(streets, broken, of, words):
    broken(streets)
    lines = look(streets).all_suspicious()
    assert any(words in line and line.startswith(of) for line in lines), lines


# What the check of the data says already stands on the page, in its words.
CHECKED = (
    (depth_in_millimetres, "the median depth of"),
    (normals_face_away, "point away from the camera"),
    (normals_of_other_lengths, "are no unit vectors"),
    (maps_of_0_and_255, "are in none of its 32 label maps"),
    (boxes_off_the_image, "their box has no area inside the image"),
)


@pytest.mark.parametrize(("broken", "words"), CHECKED, ids=[case[0].__name__ for case in CHECKED])
def test_what_the_check_says_is_on_the_page(streets, broken, words):
    broken(streets)
    findings = look(streets)
    assert any(words in line for line in findings.warned), findings.warned
    assert words in (streets.folder / "page" / "data.html").read_text()


def test_a_set_that_a_training_refuses_is_drawn_as_far_as_it_can_be(streets):
    rewritten(streets, "sem_seg_file_name", streets.train[:4], lambda ids: ids[:, :48].copy())
    findings = look(streets)
    assert any("4 of 32 label maps have another size than their image" in line for line in findings.refused)
    of_train = findings.sets[0]
    assert (of_train.name, len(of_train.observed)) == (TRAIN, 28)
    assert any("4 of 32 samples looked at cannot be made" in line for line in of_train.suspicious)


def test_classes_far_from_balance_and_classes_that_are_never_seen_are_worth_knowing(streets):
    for record in streets.train:
        record["annotations"] = [a for a in record["annotations"] if a["category_id"] == 1]
    notes = look(streets).all_notes()
    assert f"{TRAIN}: no object of the class 'car', 'sign' is in its 32 images" in notes
