"""The page and its pictures, of whole data, of a part of them, and of kinds of tasks of one's own."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mtl_d2.inspection import Limits, look, look_at_data
from mtl_d2.inspection.gallery import Embedding
from mtl_d2.inspection.observation import Failure

from .conftest import TEST, TRAIN
from .little_streets import HEIGHT, WIDTH

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
FEW = Limits(samples=2, statistics=12, updates=10)


def page_of(streets):
    return (streets.folder / "page" / "data.html").read_text()


def test_every_label_of_a_sample_has_a_picture_beside_the_image(streets):
    findings = look_at_data(streets.cfg(), streets.folder / "page", FEW)
    assert [seen.name for seen in findings.sets] == [TRAIN, TEST]
    for seen in findings.sets:
        for shown in seen.shown:
            titles = [panel.title for panel in shown.panels]
            assert titles == ["image", "detection and instance", "semantic", "depth", "normals"]
            sizes = {
                cv2.imread(str(panel.file)).shape[1] / cv2.imread(str(panel.file)).shape[0] for panel in shown.panels
            }
            assert all(abs(size - WIDTH / HEIGHT) < 0.02 for size in sizes)
            assert shown.classes <= {"sky", "road", "car", "person", "sign"}
            assert "car" in shown.classes
    page = page_of(streets)
    assert page.count('src="data:image/jpeg;base64,') == 2 * 2 * 5
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # one file


def test_pictures_have_the_colours_of_the_images(streets):
    shown = look_at_data(streets.cfg(), streets.folder / "page", FEW).sets[1].shown[0]  # not augmented
    stored = np.array(Image.open(next(r["file_name"] for r in streets.test if r["file_name"].endswith(shown.image))))
    drawn = np.array(Image.open(shown.panels[0].file).resize((WIDTH, HEIGHT)))
    assert np.abs(stored.astype(float) - drawn).mean() < 12


def test_statistics_are_of_no_more_samples_than_asked_for_and_counts_of_all_records(streets):
    findings = look_at_data(streets.cfg(), streets.folder / "page", FEW)
    assert [len(seen.observed) for seen in findings.sets] == [12, 12]
    page = page_of(streets)
    assert "32; 12 samples of them were looked at" in page
    assert "128 objects in 32 of 32 images" in page  # 2 cars, a person and a sign in each


def test_pixels_of_classes_and_void_are_those_of_the_maps(streets):
    for record in streets.train:
        ids = np.array(Image.open(record["sem_seg_file_name"]))
        ids[:, : WIDTH // 2] = 255
        record["sem_seg_file_name"] = str(streets.folder / f"half_{record['file_name'][-7:]}")
        Image.fromarray(ids).save(record["sem_seg_file_name"])
    seen = look_at_data(streets.cfg(), streets.folder / "page", FEW).sets[0]
    maps = [one.labels["", "semantic"] for one in seen.observed]
    assert all(one.void == HEIGHT * WIDTH // 2 for one in maps)
    assert all(one.void + one.pixels.sum() == HEIGHT * WIDTH for one in maps)
    assert "50 % are void" in page_of(streets)


def test_ctrl_c_leaves_the_page_of_what_was_seen(streets, monkeypatch):
    class Stopped(look.Observer):
        def __getitem__(self, number):
            if number == 5:
                raise KeyboardInterrupt
            return super().__getitem__(number)

    monkeypatch.setattr(look, "Observer", Stopped)
    findings = look_at_data(streets.cfg(), streets.folder / "page", FEW)
    assert findings.stopped
    assert [len(seen.observed) for seen in findings.sets] == [5, 0]
    page = page_of(streets)
    assert "Stopped before the end" in page
    assert "32; 5 samples of them were looked at" in page


def test_processes_of_the_loader_see_the_same(streets, monkeypatch):
    alone = look_at_data(streets.cfg(), streets.folder / "page", FEW)
    monkeypatch.setattr(look, "WORTH", 1)
    cfg = alone.cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = 1
    together = look_at_data(cfg, streets.folder / "page", FEW)
    for one, other in zip(alone.sets, together.sets, strict=True):
        assert [seen.file for seen in one.observed] == [seen.file for seen in other.observed]
        for mine, theirs in zip(one.observed, other.observed, strict=True):
            assert (mine.labels["", "semantic"].pixels == theirs.labels["", "semantic"].pixels).all()


def test_a_data_set_that_cannot_be_read_leaves_the_others_on_the_page(streets):
    cfg = streets.cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (TRAIN, "streets_nowhere"), ()
    findings = look_at_data(cfg, streets.folder / "page", FEW)
    assert [seen.name for seen in findings.sets] == [TRAIN]
    assert len([line for line in findings.refused if "streets_nowhere" in line]) == 1


def test_classes_that_a_set_is_not_annotated_for_are_said_and_not_missed(streets):
    for record in streets.train:
        record["annotations"] = [a for a in record["annotations"] if a["category_id"] != 2]
    streets.metadata[TRAIN]["annotated_classes"] = ["car", "person"]
    findings = look_at_data(streets.cfg(), streets.folder / "page", FEW)
    assert findings.all_suspicious() == []
    assert not any("'sign'" in line for line in findings.all_notes() if line.startswith(TRAIN))
    assert "1 of 3 classes: sign" in page_of(streets)


def test_names_are_text_on_the_page(streets):
    streets.metadata[TRAIN]["thing_classes"][0] = streets.metadata[TEST]["thing_classes"][0] = "<b>car</b>"
    look_at_data(streets.cfg(), streets.folder / "page", FEW)
    assert "<b>car</b>" not in page_of(streets)


def test_pictures_beyond_the_budget_are_shown_from_their_files(tmp_path):
    file = tmp_path / "pictures" / "a.jpg"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    embedding = Embedding(tmp_path, left=8)
    assert embedding.source(file).startswith("data:")
    assert embedding.source(file) == "pictures/a.jpg"


def test_a_picture_that_cannot_be_read_is_named_and_the_rest_goes_on(streets):
    bad = streets.folder / "bad.png"
    bad.write_bytes(Path(streets.train[0]["file_name"]).read_bytes()[:200])
    streets.train[0]["file_name"] = str(bad)
    seen = look_at_data(streets.cfg(), streets.folder / "page", Limits(1, 40, 10)).sets[0]
    assert len(seen.observed) == 31
    assert {failure.file for failure in seen.failed} == {str(bad)}
    assert all(isinstance(failure, Failure) for failure in seen.failed)
