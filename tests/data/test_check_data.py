import shutil
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from mtl_d2.data import DataError, build_train_loader, check_data, import_modules, register_all
from mtl_d2.data.checks.findings import Findings
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES

from .tiny_bdd100k import write_json, write_png


def mistakes(cfg):
    with pytest.raises(DataError) as e:
        check_data(cfg)
    return str(e.value).splitlines()


def test_good_data_pass(cfg, tiny_root):
    check_data(cfg)
    cfg.MTL.DATA.PER_DATASET = (3, 1)
    check_data(cfg)


def test_a_mistyped_name_is_answered_with_the_close_ones(cfg, tiny_root):
    cfg.DATASETS.TRAIN = ("bdd100k_det_trian", "bdd100k_sem_seg_train")
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_trian: no data set of this name is registered: did you mean bdd100k_det_train")
    assert (
        "There are those of docs/datasets.md, detectron2's own, and what the files in MTL.DATA.MODULES register" in line
    )


def test_a_wrong_root_is_one_line_for_all_data_sets(cfg, tmp_path):
    register_all(str(tmp_path))
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_train, bdd100k_sem_seg_train, bdd100k_det_val, bdd100k_sem_seg_val: folder")


def test_all_mistakes_are_said_at_once(cfg, tiny_root):
    shutil.rmtree(tiny_root / "bdd100k/images/10k/val")
    (tiny_root / "bdd100k/labels/det_20/det_val.json").unlink()
    write_json(
        tiny_root / "bdd100k/labels/det_20/det_train.json",
        [{"name": "det-train-0.jpg", "labels": [{"category": "cow", "box2d": {"x1": 1, "y1": 1, "x2": 2, "y2": 2}}]}],
    )
    cfg.MTL.DATA.PER_DATASET = (1, 1, 1)
    lines = mistakes(cfg)
    wanted = [
        "unknown category 'cow'",
        "det_val.json not found",
        "10k/val not found",
        "one number per data set",
        "sum 3",
    ]
    assert len(lines) == len(wanted)
    assert all(any(w in line for line in lines) for w in wanted)


def test_missing_label_files_are_counted_and_the_first_named(cfg, tiny_root, own_sets):
    records = DatasetCatalog.get("bdd100k_sem_seg_train")
    own_sets("own_train", records, stuff_classes=STUFF_CLASSES, ignore_label=255)
    for i in (1, 3):
        Path(records[i]["sem_seg_file_name"]).unlink()
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "own_train")
    (line,) = mistakes(cfg)
    assert line.startswith("own_train: 2 of 5 label files are missing, the first is ")
    assert "seg-train-1.png: add them" in line


def test_missing_images_are_counted_and_the_first_named(cfg, tiny_root):
    (tiny_root / "bdd100k/images/100k/val/det-val-4.jpg").unlink()
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_val: 1 of 6 image files are missing, the first is ")
    assert line.endswith("or set `missing_images='leave_out'` in its metadata")


def test_a_task_that_nothing_labels_is_named_with_the_key(cfg, tiny_root):
    cfg.DATASETS.TRAIN = ("bdd100k_det_train",)
    (line,) = mistakes(cfg)
    assert "MTL.TASKS has 'semantic', but no data set of DATASETS.TRAIN (bdd100k_det_train) labels it" in line
    assert "`sem_seg_file_name`" in line


def test_a_data_set_without_a_configured_task_is_named(cfg, tiny_root):
    cfg.MTL.TASKS = ("semantic",)
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_train has no label for any of MTL.TASKS ('semantic',)")


@pytest.mark.parametrize("shares", [(4, 1), (4, 0), (5, -1)])
def test_shares_must_be_positive_and_fill_the_batch(cfg, tiny_root, shares):
    cfg.MTL.DATA.PER_DATASET = shares
    (line,) = mistakes(cfg)
    assert line.startswith("MTL.DATA.PER_DATASET must be numbers >= 1 whose sum is SOLVER.IMS_PER_BATCH, 4; found ")


def test_a_label_map_with_other_ids_is_found(cfg, tiny_root):
    path = tiny_root / "bdd100k/labels/sem_seg/masks/train/seg-train-0.png"
    write_png(path, np.full((48, 80), 33, np.uint8))
    (line,) = mistakes(cfg)
    assert f"{path}: holds the ids [33]" in line


def test_a_reader_that_fails_is_named(cfg, tiny_root, own_sets):
    own_sets("own_train", lambda: [][0])
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    (line,) = mistakes(cfg)
    assert line.startswith("own_train: cannot be read (IndexError: list index out of range; test_check_data.py, line ")
    assert line.endswith("lambda: [][0])): correct its files or its reader")


def test_classes_that_do_not_fit_together_are_found(cfg, tiny_root, own_sets):
    image = str(tiny_root / "bdd100k/images/100k/train/det-train-0.jpg")
    annotation = {"bbox": [1, 1, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2}
    own_sets("own_train", [{"file_name": image, "annotations": [annotation]}], thing_classes=["cow", "pig"])
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    lines = mistakes(cfg)
    assert lines[0].startswith("own_train: it has 2 `thing_classes`, but MODEL.FCOS.NUM_CLASSES is 10: set it to 2")
    assert lines[1].startswith("own_train: `category_id` must be in 0..1, found [2]")
    assert lines[2].startswith(
        "own_train, bdd100k_det_train label 'detection' with different `thing_classes`, class 0 is 'cow' in the one "
        "and 'pedestrian' in the other: map"
    )


def test_a_number_of_classes_that_is_not_the_datas_is_found(cfg, tiny_root):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
    (line,) = mistakes(cfg)
    assert line == (
        "bdd100k_sem_seg_train, bdd100k_sem_seg_val: it has 19 `stuff_classes`, "
        "but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 54: set it to 19"
    )


def test_metadata_without_class_names_are_found(cfg, tiny_root, own_sets):
    image = str(tiny_root / "bdd100k/images/100k/train/det-train-0.jpg")
    own_sets("own_train", [{"file_name": image, "annotations": []}])
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_sem_seg_train")
    assert mistakes(cfg)[0].startswith("own_train: its metadata have no `thing_classes`: register them")


def test_the_users_modules_are_executed_once(cfg, tmp_path):
    module, log = tmp_path / "sets.py", tmp_path / "log"
    module.write_text(f"with open({str(log)!r}, 'a') as f:\n    f.write('x')")
    cfg.MTL.DATA.MODULES = (str(module), str(module))
    import_modules(cfg)
    import_modules(cfg)
    assert log.read_text() == "x"


def test_a_missing_module_names_the_path(cfg, tmp_path):
    cfg.MTL.DATA.MODULES = (str(tmp_path / "nowhere.py"),)
    with pytest.raises(DataError, match=r"MTL.DATA.MODULES names '.*nowhere.py': no such file"):
        import_modules(cfg)


@pytest.mark.parametrize(("code", "says"), [("\n1 / 0", "ZeroDivisionError"), ("\ndef", "SyntaxError")])
def test_a_module_that_fails_names_file_and_line_and_may_be_corrected(cfg, tmp_path, code, says):
    module = tmp_path / "sets.py"
    module.write_text(code)
    cfg.MTL.DATA.MODULES = (str(module),)
    with pytest.raises(DataError, match=rf"MTL.DATA.MODULES: .*sets.py, line 2: {says}"):
        import_modules(cfg)
    module.write_text("\n\n[][0]")
    with pytest.raises(DataError, match="line 3: IndexError"):
        import_modules(cfg)


def two_sets(own_sets, root, train=("pedestrian", "rider"), test=("pedestrian", "rider"), **more):
    """A training set and a test set of the same tiny images, with boxes of two classes."""
    image = str(root / "bdd100k/images/100k/{0}/det-{0}-{1}.jpg")
    box = {"bbox": [1, 1, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    for split, classes in (("train", train), ("val", test)):
        records = [{"file_name": image.format(split, i), "image_id": i, "annotations": [box]} for i in range(3)]
        own_sets(f"own_{split}", records, thing_classes=list(classes), evaluator_type="coco", **more)


def own_cfg(cfg):
    cfg.MODEL.FCOS.NUM_CLASSES = 2
    cfg.MTL.TASKS, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("detection",), ("own_train",), ("own_val",)
    return cfg


@pytest.mark.parametrize("classes", [("rider", "pedestrian"), ("person", "rider")])
def test_a_test_set_with_other_classes_is_refused_with_the_first_difference(cfg, tiny_root, own_sets, classes):
    two_sets(own_sets, tiny_root, test=classes)
    (line,) = mistakes(own_cfg(cfg))
    assert line == (
        "own_val: its `thing_classes` are not those of own_train, which trains 'detection', class 0 is 'pedestrian' in "
        f"the one and {classes[0]!r} in the other: map them to the same list by MTL.DATA.CLASSES.THING, or in its "
        "reader"
    )


def test_a_test_set_with_other_semantic_classes_is_refused(cfg, tiny_root):
    metadata = MetadataCatalog.get("bdd100k_sem_seg_val")
    del metadata.stuff_classes
    metadata.stuff_classes = [*STUFF_CLASSES[:3], "fence", "wall", *STUFF_CLASSES[5:]]
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_sem_seg_val: its `stuff_classes` are not those of bdd100k_sem_seg_train")
    assert "class 3 is 'wall' in the one and 'fence' in the other" in line


def test_classes_of_a_test_set_that_labels_another_task_do_not_matter(cfg, tiny_root):
    cfg.MTL.TASKS, cfg.DATASETS.TRAIN = ("detection",), ("bdd100k_det_train",)
    MetadataCatalog.get("bdd100k_sem_seg_val").thing_classes = ["another"]
    check_data(cfg)


@pytest.mark.parametrize("ids", [{7: 0, 9: 0}, {7: 0}, {7: 1, 9: 2}])
def test_a_mapping_of_ids_that_misses_a_class_is_refused(cfg, tiny_root, own_sets, ids):
    two_sets(own_sets, tiny_root, thing_dataset_id_to_contiguous_id=ids)
    (line,) = mistakes(own_cfg(cfg))
    assert line.startswith("own_train, own_val: `thing_dataset_id_to_contiguous_id` in its metadata must give each of")


def test_test_images_with_one_id_are_refused(cfg, tiny_root, own_sets):
    two_sets(own_sets, tiny_root)
    records = [{**r, "image_id": 5} for r in DatasetCatalog.get("own_val")]
    DatasetCatalog["own_val"] = lambda: records
    (line,) = mistakes(own_cfg(cfg))
    names = [r["file_name"] for r in records]
    assert line == (
        f"own_val: 2 images have the `image_id` of another one, as {names[1]} has 5, that of {names[0]}: "
        "give each image its own"
    )


def test_sizes_may_be_text_as_far_as_they_are_numbers(cfg, tiny_root, own_sets):
    records = [{**r, "height": "48", "width": 80.0} for r in DatasetCatalog.get("bdd100k_sem_seg_train")]
    own_sets("own_train", records, stuff_classes=STUFF_CLASSES)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MTL.TASKS = ("own_train",), (), ("semantic",)
    check_data(cfg)
    assert next(iter(build_train_loader(cfg)))[0]["height"] == 48


def test_frames_of_two_videos_may_have_one_name(cfg, tiny_root, own_sets):
    two_sets(own_sets, tiny_root)
    records = DatasetCatalog.get("own_val")
    other = tiny_root / "video" / Path(records[0]["file_name"]).name
    other.parent.mkdir()
    shutil.copy(records[0]["file_name"], other)
    DatasetCatalog["own_val"] = lambda: [*records, {**records[0], "file_name": str(other), "image_id": 8}]
    check_data(own_cfg(cfg))


def test_a_test_image_that_is_listed_twice_is_refused_and_a_training_image_is_said(cfg, tiny_root, own_sets, caplog):
    two_sets(own_sets, tiny_root)
    for name in ("own_train", "own_val"):
        records = DatasetCatalog.get(name)
        DatasetCatalog[name] = lambda records=records: [*records, {**records[1], "image_id": 9}]
    (line,) = mistakes(own_cfg(cfg))
    assert line.startswith("own_val: lists 1 images more than once, the first is ")
    (said,) = [r.message for r in caplog.records if "more than once" in r.message]
    assert said.startswith("own_train: lists 1 images more than once")
    assert said.endswith("det-train-1.jpg: they are trained on as often")


def test_a_test_set_is_named_once_and_a_training_set_as_often_as_it_is_to_be_seen(cfg, tiny_root):
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    cfg.MTL.DATA.PER_DATASET = (1, 1, 2)
    check_data(cfg)
    cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_det_val")
    (line,) = mistakes(cfg)
    assert line.startswith("DATASETS.TEST names bdd100k_det_val more than once")


def test_images_that_are_trained_and_tested_on_are_counted_whatever_their_path(cfg, tiny_root, own_sets, caplog):
    two_sets(own_sets, tiny_root)
    check_data(own_cfg(cfg))
    assert not [r for r in caplog.records if "trained on as well" in r.message]
    train = [r["file_name"] for r in DatasetCatalog.get("own_train")]
    (tiny_root / "linked").symlink_to(Path(train[0]).parent)
    (tiny_root / "link.jpg").symlink_to(train[1])
    paths = [tiny_root / "linked" / Path(train[0]).name, tiny_root / "link.jpg"]
    records = [{**r, "file_name": str(path)} for r, path in zip(DatasetCatalog.get("own_val"), paths, strict=False)]
    DatasetCatalog["own_val"] = lambda: records
    check_data(own_cfg(cfg))
    (said,) = [r.message for r in caplog.records if "trained on as well" in r.message]
    assert said.startswith("own_val: 2 of its images are trained on as well")


def test_warnings_are_said_by_the_first_process_alone(cfg, tiny_root, caplog, monkeypatch):
    cfg.DATASETS.TEST = ("bdd100k_det_train",)
    monkeypatch.setenv("RANK", "1")
    check_data(cfg)
    assert not caplog.records
    monkeypatch.setenv("RANK", "0")
    check_data(cfg)
    assert sum("6 of its images are trained on as well" in r.message for r in caplog.records) == 1


def test_a_file_of_ones_own_that_is_not_there_is_not_looked_for_below_the_root(cfg, tiny_root, own_sets):
    own_sets("own_train", Path("/nowhere/own.json").read_text)
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    (line,) = mistakes(cfg)
    assert line == "own_train: /nowhere/own.json not found: put it there, or correct the path in its reader"


def test_a_set_is_named_once_in_a_line():
    findings = Findings()
    for _ in range(2):
        findings.refuse(["it has 80 classes"], "one", "other")
    assert findings.refused == ["one, other: it has 80 classes"]


def test_classes_that_another_training_set_labels_are_said_to_be_background(cfg, tiny_root, own_sets, caplog):
    two_sets(own_sets, tiny_root)
    own_cfg(cfg).DATASETS.TRAIN, cfg.DATASETS.TEST = ("own_train", "own_val"), ()
    check_data(cfg)
    assert not [r for r in caplog.records if "trained as background" in r.message]
    records = [
        {**r, "annotations": [a for a in r["annotations"] if a["category_id"] == 0]}
        for r in DatasetCatalog.get("own_val")
    ]
    DatasetCatalog["own_val"] = lambda: records
    check_data(cfg)
    (said,) = [r.message for r in caplog.records if "trained as background" in r.message]
    assert said.startswith("own_val: has no object of class rider, of which other training sets have some")
