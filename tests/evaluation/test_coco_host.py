"""What is detectron2's in the evaluator stays as detectron2 has it."""

import inspect
import json
import re

import numpy as np
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.evaluation import COCOEvaluator
from object_sets import KINDS, annotation, evaluate, predicted, record, registered

from mtl_d2.engine.launch import leave_groups
from mtl_d2.evaluation.coco import coco_evaluator

BOXES = [[5, 5, 20, 20], [30, 10, 30, 40], [10, 30, 25, 20]]
NAMES = ["cat", "dog"]


def some_records():
    return [record(i, *[annotation(b, k % 2, area=b[2] * b[3]) for k, b in enumerate(BOXES)]) for i in range(1, 5)]


def some_outputs():
    """Each image less well predicted than the one before."""
    moved = [[[x + i, y, w, h + 2 * i] for x, y, w, h in BOXES] for i in range(4)]
    return [predicted(boxes, [0, 1, 0], [0.9 - 0.1 * i, 0.5, 0.7 + 0.05 * i]) for i, boxes in enumerate(moved)]


def test_metrics_have_detectron2s_names_and_values(tmp_path):
    content = {"images": [], "annotations": [], "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}]}
    for found in some_records():
        content["images"].append({"id": found["image_id"], **{k: found[k] for k in ("file_name", "height", "width")}})
        for one in found["annotations"]:
            del one["bbox_mode"]
            number = len(content["annotations"]) + 1
            one.update(category_id=(4, 9)[one["category_id"]], iscrowd=0, image_id=found["image_id"], id=number)
            content["annotations"].append(one)
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(content))
    with registered("host_set", lambda: load_coco_json(str(file), "", "host_set"), json_file=str(file)):
        records = DatasetCatalog.get("host_set")
        ours = evaluate("host_set", records, some_outputs(), tmp_path / "ours", KINDS)[1]
        theirs = COCOEvaluator("host_set", KINDS, output_dir=str(tmp_path / "theirs"), use_fast_impl=False)
        theirs.reset()
        theirs.process(records, [{"instances": found} for found in some_outputs()])
        expected = theirs.evaluate()
    assert {kind: list(found) for kind, found in ours.items()} == {
        kind: list(found) for kind, found in expected.items()
    }
    for kind in KINDS:
        assert np.array_equal(list(ours[kind].values()), list(expected[kind].values()), equal_nan=True)
    files = [sorted(f.name for f in (tmp_path / who).iterdir()) for who in ("ours", "theirs")]
    assert files[0] == files[1]
    assert len({(tmp_path / who / "coco_instances_results.json").read_text() for who in ("ours", "theirs")}) == 1


def test_a_part_of_the_images_is_evaluated_as_if_there_were_no_others(tmp_path):
    with registered("host_set", some_records, thing_classes=NAMES):
        evaluator, whole = evaluate("host_set", some_records(), some_outputs(), tmp_path)
        part = evaluator.evaluate([2, 3])
        assert json.dumps(evaluator.evaluate()) == json.dumps(whole)
    with registered("host_set", lambda: some_records()[1:3], thing_classes=NAMES):
        alone = evaluate("host_set", some_records()[1:3], some_outputs()[1:3], tmp_path)[1]
    assert json.dumps(part) == json.dumps(alone) != json.dumps(whole)


def test_all_that_detectron2s_methods_take_is_there(tmp_path):
    with registered("host_set", some_records, thing_classes=NAMES):
        evaluator = coco_evaluator("host_set", KINDS, tmp_path)
    taken = set(re.findall(r"self\.(_\w+)", inspect.getsource(COCOEvaluator)))
    assert len(taken) > 10
    # The ground truth is taken by a method that is replaced, and for proposals, of which there are none.
    assert [name for name in taken if not hasattr(evaluator, name)] == ["_coco_api"]


def one_of_two(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    with registered("host_set", some_records, thing_classes=NAMES):
        inputs, outputs = some_records()[rank::2], some_outputs()[rank::2]
        found = evaluate("host_set", inputs, outputs, folder)[1]
        nothing = evaluate("host_set", inputs, [predicted([], [])] * len(inputs), folder)[1]
        none = evaluate("host_set", [], [], folder)[1]
    (folder / f"{rank}.json").write_text(json.dumps([found, nothing, none]))
    leave_groups()


def test_two_processes_give_what_one_gives(tmp_path):
    with registered("host_set", some_records, thing_classes=NAMES):
        alone = evaluate("host_set", some_records(), some_outputs(), tmp_path)[1]
    mp.spawn(one_of_two, (tmp_path,), nprocs=2)
    found, nothing, none = json.loads((tmp_path / "0.json").read_text())
    assert json.dumps(found) == json.dumps(alone)  # as text nan is nan
    assert 0 < found["bbox"]["AP"] < 100
    assert nothing["bbox"]["AP"] == nothing["segm"]["AP-dog"] == none["segm"]["AP"] == none["bbox"]["AP-cat"] == 0
    assert json.loads((tmp_path / "1.json").read_text()) == [{}, {}, {}]
