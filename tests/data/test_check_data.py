import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from mtl_d2.data import DataError, check_data, import_modules, register_all

from .tiny_bdd100k import write_json, write_png


def mistakes(cfg):
    with pytest.raises(DataError) as e:
        check_data(cfg)
    return str(e.value).splitlines()


@pytest.fixture
def own_set():
    """Registers a data set of given records, for one test."""

    def register(records, **metadata):
        DatasetCatalog.register("own_train", lambda: records)
        MetadataCatalog.get("own_train").set(**metadata)

    yield register
    DatasetCatalog.remove("own_train")
    MetadataCatalog.remove("own_train")


def test_good_data_pass(cfg, tiny_root):
    check_data(cfg)
    cfg.MTL.DATA.PER_TASK = (3, 1)
    check_data(cfg)


def test_a_mistyped_name_is_answered_with_the_close_ones(cfg, tiny_root):
    cfg.DATASETS.TRAIN = ("bdd100k_det_trian", "bdd100k_sem_seg_train")
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_trian: no data set of this name is registered: did you mean bdd100k_det_train")
    assert "There are bdd100k_det_train, bdd100k_sem_seg_train" in line


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
    cfg.MTL.DATA.PER_TASK = (1, 1, 1)
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


def test_missing_label_files_are_counted_and_the_first_named(cfg, tiny_root):
    for i in (1, 3):
        (tiny_root / f"bdd100k/labels/sem_seg/masks/train/seg-train-{i}.png").unlink()
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_sem_seg_train: 2 of 5 label files are missing, the first is ")
    assert "seg-train-1.png: add them" in line


def test_missing_images_are_counted_and_the_first_named(cfg, tiny_root):
    (tiny_root / "bdd100k/images/100k/val/det-val-4.jpg").unlink()
    (line,) = mistakes(cfg)
    assert line.startswith("bdd100k_det_val: 1 of 6 image files are missing, the first is ")


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
    cfg.MTL.DATA.PER_TASK = shares
    (line,) = mistakes(cfg)
    assert line.startswith("MTL.DATA.PER_TASK must be numbers >= 1 whose sum is SOLVER.IMS_PER_BATCH, 4; found ")


def test_a_label_map_with_other_ids_is_found(cfg, tiny_root):
    path = tiny_root / "bdd100k/labels/sem_seg/masks/train/seg-train-0.png"
    write_png(path, np.full((48, 80), 33, np.uint8))
    (line,) = mistakes(cfg)
    assert f"{path}: holds the ids [33]" in line


def test_a_reader_that_fails_is_named(cfg, tiny_root, own_set):
    own_set([])
    DatasetCatalog["own_train"] = lambda: [][0]
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    (line,) = mistakes(cfg)
    assert line.startswith("own_train: cannot be read (IndexError: list index out of range)")


def test_classes_that_do_not_fit_together_are_found(cfg, tiny_root, own_set):
    image = str(tiny_root / "bdd100k/images/100k/train/det-train-0.jpg")
    annotation = {"bbox": [1, 1, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2}
    own_set([{"file_name": image, "annotations": [annotation]}], thing_classes=["cow", "pig"])
    cfg.DATASETS.TRAIN = ("own_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    lines = mistakes(cfg)
    assert lines[0].startswith("own_train: it has 2 `thing_classes`, but MODEL.FCOS.NUM_CLASSES is 10: set it to 2")
    assert lines[1].startswith("own_train: `category_id` must be in 0..1, found [2]")
    assert lines[2].startswith("own_train, bdd100k_det_train label 'detection' with different `thing_classes`")


def test_a_number_of_classes_that_is_not_the_datas_is_found(cfg, tiny_root):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
    (line,) = mistakes(cfg)
    assert line == (
        "bdd100k_sem_seg_train, bdd100k_sem_seg_val: it has 19 `stuff_classes`, "
        "but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 54: set it to 19"
    )


def test_metadata_without_class_names_are_found(cfg, tiny_root, own_set):
    image = str(tiny_root / "bdd100k/images/100k/train/det-train-0.jpg")
    own_set([{"file_name": image, "annotations": []}])
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
