"""The evaluation before the training: what it catches, whatever the evaluators are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, SemSegEvaluator
from own_sets import H, W
from PIL import Image
from tiny_cityscapes import write_tiny_cityscapes

from mtl_d2.data import DataError, import_modules, register_all
from mtl_d2.evaluation import rehearsal
from mtl_d2.evaluation.coco import PYCOCOTOOLS
from mtl_d2.evaluation.semantic import SEMANTIC
from mtl_d2.tasks.detection import Detection
from mtl_d2.tasks.instance import Instance
from mtl_d2.tasks.semantic import Semantic

ALL = ("detection", "instance", "semantic")
BOXES = {"boxes": True, "masks": True}
MAPS = {"boxes": False, "maps": True}
HOST_COCO = replace(
    PYCOCOTOOLS,
    build=lambda name, kinds, folder: COCOEvaluator(
        name, [kind.group for kind in kinds], output_dir=str(folder), use_fast_impl=False
    ),
)
HOST_SEMANTIC = replace(SEMANTIC, build=lambda name, kinds, folder: SemSegEvaluator(name, output_dir=str(folder)))


def evaluate_by(monkeypatch, tool, *kinds):
    for kind in kinds:
        monkeypatch.setattr(kind, "tools", lambda self, evaluator_type: (tool,))


@pytest.fixture
def host_evaluators(monkeypatch):
    """detectron2's evaluators in the place of ours: what they trip over must be seen."""
    evaluate_by(monkeypatch, HOST_COCO, Detection, Instance)
    evaluate_by(monkeypatch, HOST_SEMANTIC, Semantic)


def rehearse(cfg):
    """What is to be known, in lines."""
    notes = rehearsal.rehearse(cfg)
    return [*notes.warnings, *notes.cost]


def refusal(cfg):
    with pytest.raises(DataError) as refused:
        rehearse(cfg)
    (line,) = str(refused.value).splitlines()
    return line


def coco_file(sets, name, annotations, images=3):
    """A data set of a COCO file, whose images are those of ``sets.records``."""
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": H, "width": W} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}],
    }
    path = sets.root / f"{name}.json"
    path.write_text(json.dumps(content))
    sets.records(images)
    register_coco_instances(name, {}, str(path), str(sets.root))
    sets.names.append(name)
    return name


def annotation(number, image, **others):
    x = 5 * image + 2
    box = [x, 4, 12, 14]
    return {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": 168, "iscrowd": 0} | others


def test_truth_of_all_kinds_of_labels_is_perfect_and_nothing_at_all_is_zero(sets):
    name = sets.register("all", sets.records(**BOXES, maps=True), evaluator_type=None)
    notes = rehearse(sets.config(name, tasks=ALL))
    assert any(
        re.match(r"all: its evaluation was rehearsed in .* s, on 3 of 3 images for detection and inst", n)
        for n in notes
    )


def test_nothing_is_left_and_no_metadata_is_written(sets, tmp_path):
    name = sets.register("all", sets.records(**BOXES, maps=True))
    before, files = MetadataCatalog.get(name).as_dict(), sorted(tmp_path.rglob("*"))
    rehearse(sets.config(name, tasks=ALL))
    assert MetadataCatalog.get(name).as_dict() == before
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("first", [0, 1])
def test_annotation_of_id_zero_is_caught_where_the_evaluator_trips_over_it(sets, host_evaluators, first):
    annotations = [annotation(first + i, i) for i in range(3)]
    line = refusal(sets.config(coco_file(sets, "ids", annotations)))
    if first == 0:
        assert re.match(
            r"ids: .*0\.png: pycocotools gives the ground truth itself bbox/AP .* instead of 100: look", line
        )
    else:  # detectron2's own has nan for no predictions
        assert "pycocotools gives no predictions at all bbox/AP nan" in line


def test_what_an_outside_tool_raises_becomes_a_line_with_its_record(sets, host_evaluators):
    annotations = [annotation(i + 1, i) for i in range(3)]
    del annotations[2]["area"]
    line = refusal(sets.config(coco_file(sets, "areas", annotations)))
    assert line.startswith("areas: ")
    assert "pycocotools fails (KeyError: 'area')" in line


def without(key):
    return lambda record: record.pop(key)


def change(**values):
    return lambda record: record["annotations"].append({**record["annotations"][0], **values})


ODD = {
    "a box of negative size": change(bbox=[30, 30, -8, 9]),
    "an uncompressed RLE of a crowd": change(iscrowd=1, segmentation={"size": [H, W], "counts": [9, 40, H * W - 49]}),
    "a polygon of two points": change(segmentation=[[4, 5, 14, 5], [4, 5, 14, 5, 14, 17, 4, 17]]),
    "polygons as arrays": change(segmentation=[np.array([4.0, 5, 14, 5, 14, 17, 4, 17])]),
    "an empty mask": change(segmentation=[]),
    "no image_id": without("image_id"),
    "no size": lambda record: (record.pop("height"), record.pop("width")),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_detectron2s_evaluators_trip_over_is_caught_or_done_right_by_ours(sets, monkeypatch, odd):
    records = sets.records(**BOXES)
    odd(records[1])
    cfg = sets.config(sets.register("odd", records), tasks=("detection", "instance"))
    rehearse(cfg)
    evaluate_by(monkeypatch, HOST_COCO, Detection, Instance)
    assert refusal(cfg).startswith("odd: ")


def test_record_that_the_evaluator_trips_over_is_found_among_many(sets, host_evaluators, monkeypatch):
    class Blind(DatasetEvaluator):
        def __init__(self, name):
            self.records = DatasetCatalog.get(name)

        def reset(self):
            self.seen = []

        def process(self, inputs, outputs):
            self.seen += [i["file_name"] for i in inputs]

        def evaluate(self, ids=None):
            return {"bbox": {"AP": 50.0 if any(name.endswith("/4.png") for name in self.seen) else 100.0}}

    evaluate_by(monkeypatch, replace(HOST_COCO, build=lambda name, *_: Blind(name)), Detection)
    name = sets.register("many", sets.records(7))
    assert refusal(sets.config(name)).startswith(f"many: {sets.root}/4.png: pycocotools gives")


def test_id_that_is_no_class_in_a_label_map_is_refused_with_its_file(sets):
    records = sets.records(**MAPS)
    labels = np.full((H, W), 3, np.uint8)
    Image.fromarray(labels).save(records[1]["sem_seg_file_name"])
    line = refusal(sets.config(sets.register("maps", records), tasks=("semantic",)))
    assert line.startswith(f"maps: {records[1]['sem_seg_file_name']}: holds the ids [3]")


def test_maps_that_the_evaluator_reads_otherwise_are_refused(sets, host_evaluators):
    records = sets.records(**MAPS)  # detectron2's evaluator knows of no table
    table = bytes([1, 0, 2, *[255] * 253])
    name = sets.register("table", [{**r, "sem_seg_table": table} for r in records])
    line = refusal(sets.config(name, tasks=("semantic",)))
    assert "the IoU of classes gives the ground truth itself sem_seg/mIoU" in line


@pytest.mark.parametrize("listed", ["thing_classes", "stuff_classes"])
def test_classes_in_another_order_than_the_model_has_are_refused(sets, listed):
    records = sets.records(boxes=True, maps=True)
    train = sets.register("train", records)
    classes = MetadataCatalog.get(train).get(listed)[::-1]
    test = sets.register("test", records, **{listed: classes})
    cfg = sets.config(test, tasks=("detection", "semantic"), train=train)
    assert "gives the ground truth itself" in refusal(cfg)


@pytest.mark.parametrize(
    ("key", "what"), [("image_id", "`image_id` of another"), ("file_name", "listed more than once")]
)
def test_images_that_cannot_be_told_apart_are_refused(sets, key, what):
    records = sets.records()
    records[2][key] = records[0][key]
    line = refusal(sets.config(sets.register("twice", records)))
    assert line.startswith("twice: ")
    assert what in line


def test_reader_that_numbers_anew_at_each_call_is_refused(sets):
    calls = []

    def read():
        calls.append(1)
        records = sets.records()
        return [{**r, "image_id": (i + len(calls)) % 3} for i, r in enumerate(records)]

    cfg = sets.config(sets.register("anew", read))
    with pytest.raises(DataError, match=r"^anew: "):
        rehearse(cfg)


def test_set_without_objects_is_said(sets):
    records = [{**r, "annotations": []} for r in sets.records()]
    notes = rehearse(sets.config(sets.register("empty", records)))
    assert any(re.match("empty: bbox has no value for AP, .*dog: no image", note) for note in notes)


def test_more_objects_than_pycocotools_looks_at_are_no_mistake(sets):
    records = sets.records()
    many = [{**records[0]["annotations"][0], "bbox": [i % 50, i % 30, 5, 6]} for i in range(101)]
    records[1]["annotations"] = many
    notes = rehearse(sets.config(sets.register("crowded", records)))
    assert any("1 images have more objects of a class than pycocotools looks at" in note for note in notes)


def test_trained_task_without_test_set_is_said_and_not_refused(sets):
    notes = rehearse(sets.config(sets.register("boxes", sets.records()), tasks=("detection", "semantic")))
    assert notes[0].startswith(
        "'semantic' is trained and not evaluated: no data set of DATASETS.TEST (boxes) labels it"
    )


def test_type_of_an_unknown_tool_is_said(sets):
    notes = rehearse(sets.config(sets.register("voc", sets.records(), evaluator_type="pascal_voc")))
    assert any("evaluator_type 'pascal_voc' is not known here" in note and "pycocotools" in note for note in notes)


@pytest.mark.parametrize("metric", ["bbox/AP95", "sem_seg/mIoU", "bbox@other/AP"])
def test_selection_by_a_metric_that_will_not_exist_is_refused_with_those_that_will(sets, metric):
    cfg = sets.config(sets.register("boxes", sets.records()))
    cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON = metric, "test"
    assert re.match(
        rf"MTL.SELECT_BY: '{metric}' is no metric of DATASETS.TEST; there are bbox/AP, bbox/AP50", refusal(cfg)
    )


def test_selection_by_a_metric_that_will_be_nan_is_refused(sets):
    cfg = sets.config(sets.register("boxes", sets.records()))
    cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON = "bbox/APl", "test"
    assert "'bbox/APl' is not defined on DATASETS.TEST" in refusal(cfg)


def test_expected_results_that_will_not_exist_are_refused(sets):
    cfg = sets.config(sets.register("boxes", sets.records()))
    cfg.TEST.EXPECTED_RESULTS = [["segm", "AP", 30.0, 0.5]]
    assert refusal(cfg).startswith("TEST.EXPECTED_RESULTS: 'segm/AP' is no metric of DATASETS.TEST")


def test_accuracies_of_the_held_out_images_are_rehearsed(sets):
    cfg = sets.config(sets.register("both", sets.records(5, maps=True)), tasks=("detection", "semantic"))
    cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD = 0.4, 2
    cfg.MTL.SCALARIZATION.NAME = "dtp"
    cfg.MTL.SCALARIZATION.DTP.METRICS = ("bbox/AP", "sem_seg/mIoU")
    assert any(note.startswith("both@validation: its evaluation was rehearsed") for note in rehearse(cfg))
    cfg.MTL.SCALARIZATION.DTP.METRICS = ("bbox/AP", "segm/AP")
    assert refusal(cfg).startswith("MTL.SCALARIZATION.DTP.METRICS: 'segm/AP' is no metric of the images held out")


def test_choice_on_held_out_images_is_rehearsed_there(sets):
    cfg = sets.config(sets.register("boxes", sets.records(5)))
    cfg.MTL.DATA.VALIDATION_SHARE, cfg.TEST.EVAL_PERIOD, cfg.MTL.EMA.DECAY = 0.4, 2, 0.9
    cfg.MTL.SELECT_BY = "bbox_EMA/AP"
    assert any(note.startswith("boxes@validation: its evaluation was rehearsed") for note in rehearse(cfg))
    cfg.MTL.SELECT_BY = "bbox/AP, segm/AP + bbox/AP50"
    assert refusal(cfg).startswith("MTL.SELECT_BY: 'segm/AP' is no metric of the images held out; there are bbox/AP, ")


def test_large_set_is_rehearsed_on_a_sample_and_that_is_said(sets, monkeypatch):
    evaluate_by(monkeypatch, replace(PYCOCOTOOLS, images=3), Detection)
    cfg = sets.config(sets.register("large", sets.records(8)))
    notes = rehearse(cfg)
    assert not any("has no value" in note for note in notes)
    cfg.MTL.SELECT_ON = "test"
    cfg.MTL.SELECT_BY = "bbox/APl"  # an image that was not looked at may show a large object
    rehearse(cfg)
    assert any(re.search(r"rehearsed in .* s, on 3 of 8 images for detection$", note) for note in notes)


def test_classes_of_images_are_rehearsed(sets):
    records = [{"file_name": str(i), "image": None, "class_a": i % 3} for i in range(4)]
    cfg = sets.config(sets.register("classes", records), tasks=("class_a",))
    assert any("on 4 of 4 images for class_a" in note for note in rehearse(cfg))
    cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON = "accuracy/class_b", "test"
    assert "there are accuracy/class_a, accuracy/harmonic_mean" in refusal(cfg)


def test_folder_of_an_earlier_run_stays_as_it_is(sets):
    cfg = sets.config(sets.register("boxes", sets.records()))
    left = Path(cfg.OUTPUT_DIR, "inference", "boxes", "coco_instances_results.json")
    left.parent.mkdir(parents=True)
    left.write_text("old")
    rehearse(cfg)
    assert [str(p.relative_to(cfg.OUTPUT_DIR)) for p in Path(cfg.OUTPUT_DIR).rglob("*") if p.is_file()] == [
        "inference/boxes/coco_instances_results.json"
    ]
    assert left.read_text() == "old"


def test_cityscapes_scripts_are_rehearsed_on_a_few_images(tmp_path, sets, monkeypatch):
    pytest.importorskip("cityscapesscripts")
    write_tiny_cityscapes(tmp_path)
    register_all(str(tmp_path))
    cfg = sets.config("cityscapes_val", tasks=ALL)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 19
    (cost,) = rehearsal.rehearse(cfg).cost
    assert "images for detection, " in cost
    assert "images for instance, " in cost
    monkeypatch.setitem(
        vars(MetadataCatalog.get("cityscapes_val")), "gt_dir", str(tmp_path / "cityscapes/gtFine/train")
    )
    with pytest.raises(DataError) as refused:
        rehearse(cfg)
    assert all(line.startswith("cityscapes_val: ") for line in str(refused.value).splitlines())


@pytest.mark.data
def test_truth_of_published_data_is_perfect(sets, real_data, monkeypatch, forgotten):
    monkeypatch.setenv("MTL_D2_TEST_DATA", str(real_data))
    cfg = sets.config("coco_mini_val", "camvid_val", tasks=ALL, train="coco_mini_train")
    cfg.MTL.DATA.MODULES = (str(Path(__file__).resolve().parents[2] / "docs/examples/camvid_coco.py"),)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 11
    import_modules(cfg)
    boxes, pixels = rehearsal.rehearse(cfg).cost
    assert "of 79 images for detection and instance" in boxes
    assert "of 101 images for semantic" in pixels


def test_mistakes_of_all_evaluators_and_sets_are_told_at_once(sets):
    one, two = sets.records(**BOXES, maps=True), sets.records(boxes=False, maps=True)
    for record in (one[1], two[0]):
        record["sem_seg_file_name"] = str(sets.root / "other.png")
    Image.fromarray(np.full((H, W), 7, np.uint8)).save(sets.root / "other.png")
    one[0]["annotations"][0]["category_id"] = 9
    cfg = sets.config(sets.register("one", one), sets.register("two", two), tasks=ALL)
    with pytest.raises(DataError) as refused:
        rehearse(cfg)
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == ["one", "one", "two"]
