import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import polygons_to_bitmask
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError, MultiTaskMapper, build_train_loader, check_data, register_all
from mtl_d2.data.datasets import cityscapes
from mtl_d2.data.dense_files import depth_encoding, read_depth
from mtl_d2.data.images import read_label_map
from mtl_d2.data.sample_scenes.generate import Request, generate

from .tiny_cityscapes import CAR, HEIGHT, WIDTH, instance_ids, write_tiny_cityscapes

CAR_CLASS, PERSON_CLASS = 2, 0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_cityscapes(root)
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "made"
    generate(root, Request(train=3, val=1, size=(160, 96), seed=3, preset="hard", layouts=("cityscapes",)))
    return root


@pytest.fixture
def cityscapes_cfg(cfg, root):
    register_all(str(root))
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskRCNN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 8
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("cityscapes_train",), ("cityscapes_val",)
    cfg.MTL.TASKS = ("detection", "instance", "semantic")
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


def mask_of(annotation, size):
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        return coco_mask.decode(segmentation).astype(bool)
    return polygons_to_bitmask(segmentation, *size)


@pytest.mark.parametrize("polygons", [True, False])
def test_objects_are_those_of_the_instance_ids(root, polygons):
    record = cityscapes.load(str(root), "train", polygons)[0]
    found = {(a["category_id"], a["iscrowd"], tuple(a["bbox"])): a for a in record["annotations"]}
    # By hand: a caravan is not evaluated, the cut car is one object, ids below 1000 are crowds.
    assert set(found) == {
        (CAR_CLASS, 0, (10, 20, 50, 40)),
        (CAR_CLASS, 0, (60, 22, 78, 30)),
        (PERSON_CLASS, 0, (28, 12, 34, 36)),
        (PERSON_CLASS, 1, (52, 26, 58, 34)),
    }
    cut = mask_of(found[CAR_CLASS, 0, (10, 20, 50, 40)], (HEIGHT, WIDTH))
    assert (cut == (instance_ids() == 1000 * CAR)).all()
    assert cut.sum() == 40 * 20 - 6 * 16


@pytest.mark.parametrize("polygons", [True, False])
def test_masks_of_the_sample_scenes_are_exact(scenes, polygons):
    total = 0
    for record in cityscapes.load(str(scenes), "train", polygons):
        image = record["file_name"].replace("leftImg8bit", "gtFine", 1)
        ids = cv2.imread(image.replace("_leftImg8bit", "_gtFine_instanceIds"), cv2.IMREAD_UNCHANGED)
        masks = [mask_of(a, ids.shape) for a in record["annotations"]]
        wanted = [ids == v for v in np.unique(ids) if v >= 1000]
        assert sorted(m.tobytes() for m in masks) == sorted(m.tobytes() for m in wanted)
        total += len(masks)
    assert total > 5


def test_semantic_classes_are_those_of_the_label_ids(scenes):
    for record in cityscapes.load(str(scenes), "train"):
        found = read_label_map(record["sem_seg_file_name"], 19, 255, record["sem_seg_table"])
        made = cv2.imread(record["sem_seg_file_name"].replace("labelIds", "labelTrainIds"), cv2.IMREAD_UNCHANGED)
        assert (found == made).all()


def test_disparity_is_depth_in_pixels(cityscapes_cfg):
    record = DatasetCatalog.get("cityscapes_train")[0]
    metadata = MetadataCatalog.get("cityscapes_train")
    found, _ = read_depth(record["depth_file_name"], depth_encoding(metadata.depth_encoding))
    assert (found.shape, set(found.ravel().tolist())) == ((HEIGHT, WIDTH), {0.0, 5.0})
    assert metadata.depth_unit == "pixels"
    cityscapes_cfg.MTL.TASKS = ("depth",)
    check_data(cityscapes_cfg)
    loaded = next(iter(build_train_loader(cityscapes_cfg)))[0]
    assert set(loaded["depth"].unique().tolist()) == {0.0, 5.0}


def test_disparity_may_be_absent(tmp_path):
    write_tiny_cityscapes(tmp_path)
    for path in (tmp_path / "cityscapes/disparity").rglob("*.png"):
        path.unlink()
    assert "depth_file_name" not in cityscapes.load(str(tmp_path), "val")[0]


def test_a_copy_at_another_size_is_read_at_its_own(tmp_path):
    write_tiny_cityscapes(tmp_path, scale=2)
    record = cityscapes.load(str(tmp_path), "val")[0]
    assert (record["height"], record["width"]) == (2 * HEIGHT, 2 * WIDTH)
    assert (20.0, 40.0, 100.0, 80.0) in {tuple(a["bbox"]) for a in record["annotations"]}


def test_one_image_has_all_labels_and_they_stay_together(cityscapes_cfg):
    check_data(cityscapes_cfg)
    record = DatasetCatalog.get("cityscapes_train")[0]
    for position in range(4):
        sample = MultiTaskMapper(cityscapes_cfg, True)(record, position)
        assert sample["tasks"] == ("detection", "instance", "semantic")
        instances = sample["instances"]
        assert not {"sem_seg_table", "annotations"} & set(sample)
        boxes = instances.gt_masks.get_bounding_boxes().tensor
        np.testing.assert_allclose(boxes, instances.gt_boxes.tensor, atol=1e-4)
        h, w = instances.image_size
        things = {PERSON_CLASS: 11, CAR_CLASS: 13}
        for polygons, category in zip(instances.gt_masks.polygons, instances.gt_classes.tolist(), strict=True):
            inside = sample["sem_seg"].numpy()[polygons_to_bitmask(polygons, h, w)]
            assert (inside == things[category]).mean() > 0.8


def test_a_data_set_is_read_once(cityscapes_cfg):
    first = DatasetCatalog.get("cityscapes_train")
    assert DatasetCatalog.get("cityscapes_train") is first
    assert len(next(iter(build_train_loader(cityscapes_cfg)))) == 2


def test_metadata_name_the_evaluation(cityscapes_cfg):
    metadata = MetadataCatalog.get("cityscapes_val")
    assert metadata.evaluator_type == "cityscapes"
    assert metadata.thing_classes[PERSON_CLASS] == "person"
    assert (len(metadata.stuff_classes), len(metadata.thing_classes)) == (19, 8)


def test_wrong_root_names_the_variable(tmp_path):
    with pytest.raises(DataError, match=r"leftImg8bit/train not found .*DETECTRON2_DATASETS"):
        cityscapes.load(str(tmp_path), "train")


def test_missing_labels_are_counted_and_the_first_named(tmp_path):
    write_tiny_cityscapes(tmp_path)
    next(iter(sorted((tmp_path / "cityscapes/gtFine/val").rglob("*instanceIds.png")))).unlink()
    with pytest.raises(DataError, match=r"1 of 2 files .*_gtFine_instanceIds.png.* missing, the first is .*000000"):
        cityscapes.load(str(tmp_path), "val")


def test_a_label_file_in_colours_is_refused(tmp_path):
    write_tiny_cityscapes(tmp_path)
    path = sorted((tmp_path / "cityscapes/gtFine/val").rglob("*instanceIds.png"))[0]
    assert cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"000000_.*expected one 16-bit channel, found shape \(4, 4, 3\)"):
        cityscapes.load(str(tmp_path), "val")
