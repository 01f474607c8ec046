import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.annotations import clean_annotations, evaluation_records
from mtl_d2.data.loader import training_records

from .tiny_bdd100k import HEIGHT, WIDTH, write_image, write_json

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


def annotation(box=(10, 10, 30, 30), **more):
    return {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "segmentation": [SQUARE], **more}


def rle(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[10:30, 10:30] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def records(*annotations):
    return [{"file_name": "a.jpg", "height": HEIGHT, "width": WIDTH, "annotations": list(annotations)}]


def clean(*annotations, masks=True, mask_format="polygon"):
    return clean_annotations(records(*annotations), masks, mask_format)


def counts(cleaned):
    return [" ".join(line.split()[:3]) for line in cleaned.lines(cleaned.changes)]


def test_clean_annotations_stay_the_same_objects():
    given = records(annotation())
    assert clean_annotations(given, True, "polygon").records[0] is given[0]


@pytest.mark.parametrize(
    "box", [(10, 10, 10, 30), (30, 10, 10, 30), (90, 10, 99, 20), (-9, 5, -1, 9), (float("nan"), 1, 5, 5)]
)
def test_a_box_without_area_in_the_image_is_dropped(box):
    cleaned = clean(annotation(), annotation(box), annotation(box))
    assert counts(cleaned) == ["2 objects dropped:"]
    assert cleaned.objects == len(cleaned.records[0]["annotations"]) == 1
    assert cleaned.lines(cleaned.changes)[0].endswith("(first in a.jpg)")


def test_a_box_that_reaches_outside_is_kept_and_counted():
    cleaned = clean(annotation((-5, 10, 30, 30)), annotation((-1, -1, WIDTH + 1, HEIGHT + 1)))
    assert counts(cleaned) == ["1 boxes reach"]
    assert cleaned.objects == 2


@pytest.mark.parametrize("polygon", [[1, 1, 9, 9], [1, 1, 9, 9, 5], []])
def test_polygons_of_fewer_than_three_points_are_dropped(polygon):
    cleaned = clean(annotation(segmentation=[polygon, SQUARE]), annotation(segmentation=[polygon]))
    assert counts(cleaned) == ["2 polygons dropped:", "1 objects dropped:"]
    assert [a["segmentation"] for a in cleaned.records[0]["annotations"]] == [[SQUARE]]


def test_masks_do_not_matter_where_they_are_not_trained():
    cleaned = clean(annotation(segmentation=[[1, 1]]), annotation(segmentation=rle(9, 9)), masks=False)
    assert cleaned.objects == 2
    assert not cleaned.changes
    assert not cleaned.refused


def test_an_rle_of_another_size_is_refused():
    cleaned = clean(
        annotation(segmentation=rle(HEIGHT, WIDTH)), annotation(segmentation=rle(9, 9)), mask_format="bitmask"
    )
    assert cleaned.lines(cleaned.refused)[0].startswith("1 RLE masks have another size than their image")


def test_an_rle_cannot_become_a_polygon_but_a_crowd_need_not():
    crowd = annotation(segmentation=rle(HEIGHT, WIDTH), iscrowd=1)
    assert not clean(crowd).refused
    cleaned = clean(crowd, annotation(segmentation=rle(HEIGHT, WIDTH)))
    assert cleaned.lines(cleaned.refused)[0].startswith("1 masks are RLE or pixels")
    assert "INPUT.MASK_FORMAT to 'bitmask'" in cleaned.lines(cleaned.refused)[0]


def test_an_uncompressed_rle_is_compressed():
    counted = {"size": [2, 3], "counts": [2, 1, 3]}
    given = [{"file_name": "a", "annotations": [annotation((0, 0, 2, 2), segmentation=counted)]}]
    (found,) = clean_annotations(given, True, "bitmask").records[0]["annotations"]
    assert coco_mask.decode(found["segmentation"]).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_an_object_without_mask_takes_its_image_from_the_masks():
    bare = annotation()
    del bare["segmentation"]
    cleaned = clean_annotations([*records(annotation()), *records(annotation(), bare)], True, "polygon")
    assert counts(cleaned) == ["1 images have"]
    assert cleaned.objects == 3
    assert not clean_annotations(records(bare), True, "polygon").changes  # a data set without masks lacks none


@pytest.mark.parametrize(
    "box", [(float("nan"), 1, 5, 5), (1, 1, float("inf"), 5), (-float("inf"), 1, 5, 5), [None, 1, 5, 5]]
)
def test_a_box_that_is_not_finite_is_dropped_and_said(box):
    for sized in (True, False):
        (given,) = records(annotation(), annotation(box))
        given = given if sized else {key: given[key] for key in ("file_name", "annotations")}
        cleaned = clean_annotations([given], True, "polygon")
        assert cleaned.lines(cleaned.changes) == [
            "1 objects dropped: their box holds NaN or an infinite number (first in a.jpg)"
        ]
        assert cleaned.records[0]["annotations"] == given["annotations"][:1]


def test_a_polygon_that_is_not_finite_is_dropped_and_said():
    cleaned = clean(annotation(segmentation=[SQUARE, [*SQUARE[:-1], float("nan")]]), annotation(segmentation=[SQUARE]))
    assert [a["segmentation"] for a in cleaned.records[0]["annotations"]] == [[SQUARE], [SQUARE]]
    assert cleaned.lines(cleaned.changes) == [
        "1 polygons dropped: they hold NaN or an infinite number (first in a.jpg)"
    ]


@pytest.mark.parametrize("nothing", [None, [], {}, ()])
def test_a_mask_of_nothing_is_no_mask(nothing):
    cleaned = clean(annotation(), annotation(segmentation=nothing))
    assert counts(cleaned) == ["1 images have"]
    assert "segmentation" not in cleaned.records[0]["annotations"][1]
    assert not clean(annotation(segmentation=nothing)).changes


def test_a_region_to_be_ignored_is_a_crowd_region():
    cleaned = clean(annotation(), annotation(ignore=1), annotation(ignore=0), annotation(iscrowd="1"))
    assert cleaned.objects == 2
    assert [a.get("iscrowd", 0) for a in cleaned.records[0]["annotations"]] == [0, 1, 0, 1]


def test_sizes_become_whole_numbers_and_annotations_of_null_none():
    given = {"file_name": "a.jpg", "height": str(HEIGHT), "width": float(WIDTH), "annotations": None}
    cleaned = clean_annotations([given], True, "polygon")
    assert cleaned.records == [{"file_name": "a.jpg", "height": HEIGHT, "width": WIDTH, "annotations": []}]
    assert cleaned.lines(cleaned.changes) == [
        "1 records have `annotations: None`: taken as images that show no object (first in a.jpg)"
    ]
    assert given["annotations"] is None


def test_half_a_size_is_none():
    given = {"file_name": "a.jpg", "height": HEIGHT, "annotations": []}
    assert clean_annotations([given], True, "polygon").records == [{"file_name": "a.jpg", "annotations": []}]


def test_images_without_annotations_lack_no_mask():
    semantic = {"file_name": "b.jpg", "sem_seg_file_name": "b.png"}
    assert not clean_annotations([*records(annotation()), semantic], True, "polygon").changes


def test_a_mistake_names_the_file_the_annotation_and_what_it_has():
    cleaned = clean(annotation(), annotation(bbox=[1, 2, 3]), annotation(bbox=[1, 2, 3, 4, 5]))
    (line,) = cleaned.lines(cleaned.refused)
    assert line.startswith("2 boxes are not four numbers of a known `bbox_mode`: correct the reader (first in a.jpg, ")
    assert line.endswith("annotation 1: ([1, 2, 3], <BoxMode.XYXY_ABS: 0>))")


@pytest.mark.parametrize("annotations", [7, "none", {"bbox": 1}])
def test_annotations_that_are_no_list_are_refused(annotations):
    cleaned = clean_annotations([{"file_name": "a.jpg", "annotations": annotations}], True, "polygon")
    assert next(iter(cleaned.refused)).startswith("records have `annotations` that are no list")


@pytest.mark.parametrize("one", [None, "box", 7, ["bbox", "bbox_mode", "category_id"]])
def test_an_annotation_that_is_none_is_refused(one):
    assert next(iter(clean(one).refused)).startswith("annotations lack one of bbox")


def test_relative_boxes_of_an_image_that_is_not_there_are_refused():
    relative = annotation((0.1, 0.1, 0.3, 0.3), bbox_mode=BoxMode.XYXY_REL)
    cleaned = clean_annotations([{"file_name": "no.jpg", "annotations": [relative]}], True, "polygon")
    assert next(iter(cleaned.refused)).startswith("boxes are relative to the size of an image that cannot be opened")


def test_a_test_loader_gets_ids_and_whole_sizes():
    given = [{"file_name": "a.jpg", "height": "4", "width": "5"}, {"file_name": "b.jpg", "image_id": 3}]
    DatasetCatalog.register("own_test", lambda: given)
    try:
        assert evaluation_records("own_test") == [
            {"file_name": "a.jpg", "height": 4, "width": 5, "image_id": "a.jpg"},
            {"file_name": "b.jpg", "image_id": 3},
        ]
    finally:
        DatasetCatalog.remove("own_test")


def test_an_incomplete_annotation_is_refused():
    assert clean({"category_id": 0}).lines(clean({"category_id": 0}).refused)[0].startswith("1 annotations lack one of")


@pytest.fixture
def own_coco(tmp_path, cfg):
    """Registers a COCO file of two images: category ids with gaps, one image without objects."""

    def register(annotations, image_size=(HEIGHT, WIDTH), number=2):
        for i in range(number):
            write_image(tmp_path / "images" / f"{i}.jpg", i)
        size = dict(zip(("height", "width"), image_size, strict=True))
        content = {
            "images": [{"id": 10 + i, "file_name": f"{i}.jpg", **size} for i in range(2)],
            "annotations": [{"id": 1 + i, "area": 400, "iscrowd": 0, **a} for i, a in enumerate(annotations)],
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        }
        write_json(tmp_path / "own.json", content)
        register_coco_instances("own_coco", {}, str(tmp_path / "own.json"), str(tmp_path / "images"))
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("own_coco",), ()
        cfg.MTL.TASKS = ("detection", "instance")
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "MultiTaskRCNN", 2
        cfg.SOLVER.IMS_PER_BATCH = 2
        return cfg

    yield register
    DatasetCatalog.remove("own_coco")
    MetadataCatalog.remove("own_coco")


GOOD = {"image_id": 10, "category_id": 7, "bbox": [10, 10, 20, 20], "segmentation": [SQUARE]}


def mistakes(cfg):
    with pytest.raises(DataError) as e:
        check_data(cfg)
    return str(e.value).splitlines()


def test_category_ids_with_gaps_become_consecutive(own_coco):
    cfg = own_coco([GOOD, {**GOOD, "category_id": 3}])
    check_data(cfg)
    classes = [a["category_id"] for a in DatasetCatalog.get("own_coco")[0]["annotations"]]
    assert classes == [1, 0]
    assert MetadataCatalog.get("own_coco").thing_classes == ["dog", "cat"]


def test_images_without_objects_are_background_unless_filtered(own_coco):
    cfg = own_coco([GOOD])
    batch = next(iter(build_train_loader(cfg)))
    assert sorted(len(s["instances"]) for s in batch) == [0, 1]
    assert all(s["tasks"] == ("detection", "instance") for s in batch)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_records(cfg, "own_coco")) == 1


def test_an_image_of_crowds_alone_is_background_unless_filtered(own_coco):
    cfg = own_coco([GOOD, {**GOOD, "image_id": 11, "iscrowd": 1}])
    assert len(training_records(cfg, "own_coco")) == 2
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_records(cfg, "own_coco")) == 1


def test_what_was_dropped_is_said_once_with_its_number(own_coco, caplog):
    flat = {**GOOD, "bbox": [10, 10, 0, 20]}
    cfg = own_coco([GOOD, flat, {**flat, "image_id": 11}])
    with caplog.at_level(logging.WARNING, "mtl_d2"):
        training_records(cfg, "own_coco")
    said = [r.getMessage() for r in caplog.records if r.name.startswith("mtl_d2")]
    assert len(said) == 1
    assert said[0].startswith("own_coco: 2 objects dropped: their box has no area")


def test_an_annotation_file_of_images_at_another_size_is_refused(own_coco):
    (line,) = mistakes(own_coco([GOOD], image_size=(2 * HEIGHT, 2 * WIDTH)))
    assert line.startswith("own_coco: 2 of 2 images looked at have another size than their record says")


def test_an_annotation_file_of_other_images_is_refused(own_coco):
    (line,) = mistakes(own_coco([GOOD], number=1))
    assert line.startswith("own_coco: 1 of 2 image files are missing")


@pytest.mark.parametrize("annotations", [[], [{**GOOD, "image_id": 99}], [{**GOOD, "iscrowd": 1}]])
def test_no_object_at_all_is_refused(own_coco, annotations):
    assert any("no image shows an object to detect" in line for line in mistakes(own_coco(annotations)))


def test_boxes_alone_do_not_label_masks(own_coco):
    bare = {key: value for key, value in GOOD.items() if key != "segmentation"}
    (line,) = mistakes(own_coco([bare]))
    assert "MTL.TASKS has 'instance'" in line
    assert "`annotations` with `segmentation`" in line


def test_crops_of_polygons_without_shapely_are_refused(own_coco, monkeypatch):
    cfg = own_coco([GOOD])
    cfg.INPUT.CROP.ENABLED = True
    monkeypatch.setattr("mtl_d2.data.checks.files.find_spec", lambda name: None)
    (line,) = mistakes(cfg)
    assert "INPUT.CROP.ENABLED cuts its polygons, which takes shapely" in line


def test_boxes_that_may_be_corners_are_asked_about():
    outside = clean(annotation(), annotation((60, 10, 99, 40)))
    assert "has it the corner x2, y2 in their place? (first in a.jpg)" in outside.lines(outside.changes)[0]
    few = clean(*[annotation()] * 10, annotation((60, 10, 99, 40)))
    assert "corner" not in few.lines(few.changes)[0]


def test_boxes_that_all_lie_in_one_pixel_are_refused_as_relative():
    relative = [annotation((0.1, 0.2, 0.5, 0.6)), annotation((0.5, 0.5, 1.0, 1.0))]
    (line,) = clean(*relative, masks=False).lines(clean(*relative, masks=False).refused)
    assert line.startswith("2 boxes, which are all, lie in the first pixel of their image")
    assert "XYXY_REL or XYWH_REL" in line
    assert not clean(*relative, annotation((0, 0, 2, 1)), masks=False).refused
