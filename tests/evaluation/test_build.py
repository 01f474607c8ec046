"""Which evaluators a test set gets."""

import pytest
from detectron2.data import MetadataCatalog

from mtl_d2.data import DataError
from mtl_d2.evaluation.build import build_evaluator, check_evaluation
from mtl_d2.tasks.base import first_of_each
from mtl_d2.tasks.registry import kinds_of

ALL = ("detection", "instance", "semantic")


def groups(cfg, name):
    """The groups of metrics that a perfect model gets."""
    evaluators = build_evaluator(cfg, name)
    evaluators.reset()
    truths = [kind.truth(cfg, name) for kind in first_of_each(kinds_of(cfg.MTL.TASKS))]
    from mtl_d2.data.reading import read_records

    for record in read_records(name):
        evaluators.process([record], [{truth.key: truth.right(record) for truth in truths}])
    return evaluators.evaluate()


@pytest.mark.parametrize("kind", ["coco", "sem_seg", "lvis", None])
def test_labels_and_not_the_type_say_what_is_evaluated(sets, kind):
    name = sets.register("all", sets.records(masks=True, maps=True), evaluator_type=kind)
    results = groups(sets.config(name, tasks=ALL), name)
    assert {group: round(next(iter(metrics.values())), 6) for group, metrics in results.items()} == {
        "bbox": 100, "segm": 100, "sem_seg": 100,
    }  # fmt: skip


def test_tasks_that_are_not_trained_are_not_evaluated(sets):
    name = sets.register("all", sets.records(masks=True, maps=True))
    assert set(groups(sets.config(name, tasks=("semantic",)), name)) == {"sem_seg"}
    assert set(groups(sets.config(name, tasks=("detection",)), name)) == {"bbox"}


@pytest.mark.parametrize(("task", "boxes"), [("semantic", True), ("detection", False)])
def test_set_without_a_label_of_any_task_is_refused_with_all_others(sets, task, boxes):
    kind = "coco" if boxes else "sem_seg"
    for name in ("one", "two"):
        sets.register(name, sets.records(boxes=boxes, maps=not boxes), evaluator_type=kind)
    with pytest.raises(DataError) as refused:
        check_evaluation(sets.config("one", "two", tasks=(task,)))
    one, two = str(refused.value).splitlines()
    assert one == (
        f"one: its records have no label for any of MTL.TASKS ('{task}',), so nothing of it can be evaluated: take it "
        "out of DATASETS.TEST, or add its task"
    )
    assert two.startswith("two: ")


def test_name_that_stands_twice_is_looked_at_once(sets):
    sets.register("maps", sets.records(boxes=False, maps=True))
    with pytest.raises(DataError) as refused:
        check_evaluation(sets.config("maps", "maps"))
    assert len(str(refused.value).splitlines()) == 1


def test_official_tool_that_is_missing_is_named_before_the_training(sets, monkeypatch):
    monkeypatch.setattr("mtl_d2.evaluation.cityscapes.find_spec", lambda name: None)
    name = sets.register("city", sets.records(masks=True, maps=True), evaluator_type="cityscapes")
    with pytest.raises(DataError, match="Cityscapes' own scripts"):
        check_evaluation(sets.config(name, tasks=ALL))
    check_evaluation(sets.config(name, tasks=("detection",)))  # whose boxes are COCO's affair


def test_metadata_need_no_evaluator_type(sets):
    name = sets.register("plain", sets.records(), evaluator_type=None)
    assert "evaluator_type" not in MetadataCatalog.get(name).as_dict()
    check_evaluation(sets.config(name))
