import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.holdout import divide, register_held_out
from mtl_d2.data.loader import training_records

from .tiny_bdd100k import DETECTION, SEMANTIC


def records(n, folder="a"):
    return [{"file_name": f"{folder}/{i:03}.jpg"} for i in range(n)]


def names(records):
    return [r["file_name"].rpartition("/")[2] for r in records]


def held_files(cfg):
    return {r["file_name"] for name in register_held_out(cfg) for r in DatasetCatalog.get(name)}


@pytest.mark.parametrize(("n", "share", "count"), [(50, 0.2, 10), (50, 0.001, 1), (2, 0.5, 1), (50, 0.0, 0)])
def test_the_two_parts_are_disjoint_and_complete(n, share, count):
    train, held = divide(records(n), share, 7, "set")
    assert len(held) == count
    assert sorted(names([*train, *held])) == names(records(n))


def test_the_division_depends_on_seed_and_name_alone():
    held = divide(records(50), 0.2, 7, "set")[1]
    assert sorted(names(divide(records(50, "b")[::-1], 0.2, 7, "set")[1])) == names(held)
    assert names(divide(records(50), 0.2, 8, "set")[1]) != names(held)
    assert names(divide(records(50), 0.2, 7, "other")[1]) != names(held)


def test_records_of_one_image_stay_together():
    train, held = divide(records(9) * 3, 0.4, 7, "set")
    assert not set(names(train)) & set(names(held))
    assert len(held) == 3 * len(set(names(held)))


def test_training_sees_every_image_but_those_held_out(cfg, tiny_root):
    whole = {r["file_name"] for name in cfg.DATASETS.TRAIN for r in DatasetCatalog.get(name)}
    cfg.MTL.DATA.VALIDATION_SHARE = 0.4
    held = held_files(cfg)
    assert len(held) == 4
    cfg.SOLVER.IMS_PER_BATCH = DETECTION + SEMANTIC - 4
    epoch = next(iter(build_train_loader(cfg)))
    assert {s["file_name"] for s in epoch} == whole - held


def test_the_share_does_not_depend_on_the_filter(cfg, tiny_root):
    cfg.MTL.DATA.VALIDATION_SHARE = 0.2
    held = held_files(cfg)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert held_files(cfg) == held
    assert not held & {r["file_name"] for r in training_records(cfg, "bdd100k_det_train")}


def test_held_out_metadata_are_the_sets_without_its_coco_file(cfg, tiny_root):
    cfg.MTL.DATA.VALIDATION_SHARE = 0.2
    MetadataCatalog.get("bdd100k_det_train").json_file = "whole.json"
    name, _ = register_held_out(cfg)
    metadata = MetadataCatalog.get(name)
    assert metadata.name == name == "bdd100k_det_train@validation"
    assert metadata.thing_classes == MetadataCatalog.get("bdd100k_det_train").thing_classes
    assert metadata.evaluator_type == "coco"
    assert "json_file" not in metadata.as_dict()


def test_classes_that_a_reader_finds_are_copied_when_it_has_read(cfg):
    def read():
        MetadataCatalog.get("late_train").thing_classes = ["dog"]
        return records(4)

    DatasetCatalog.register("late_train", read)
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.VALIDATION_SHARE = ("late_train",), 0.5
    (held,) = register_held_out(cfg)
    try:
        assert len(DatasetCatalog.get(held)) == 2
        assert MetadataCatalog.get(held).thing_classes == ["dog"]
    finally:
        for name in ("late_train", held):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_a_set_that_is_trained_on_twice_is_held_out_and_evaluated_once(cfg, tiny_root):
    cfg.MTL.DATA.VALIDATION_SHARE = 0.2
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_det_train", "bdd100k_sem_seg_train")
    assert register_held_out(cfg) == ("bdd100k_det_train@validation", "bdd100k_sem_seg_train@validation")


def test_registering_again_divides_anew(cfg, tiny_root):
    cfg.MTL.DATA.VALIDATION_SHARE = 0.2
    first = len(held_files(cfg))
    cfg.MTL.DATA.VALIDATION_SHARE = 0.6
    assert len(held_files(cfg)) > first


def test_a_share_that_leaves_nothing_is_refused(cfg, tiny_root):
    check_data(cfg)
    cfg.MTL.DATA.VALIDATION_SHARE = 0.95
    with pytest.raises(DataError, match=r"0\.95 of the 6 in bdd100k_det_train is all: lower it"):
        check_data(cfg)
