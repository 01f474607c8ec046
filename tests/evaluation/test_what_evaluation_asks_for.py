"""An evaluation has a model predict what its data set is labelled for, in the smallest form that its tools take."""

from dataclasses import replace

import pytest
import torch
from detectron2.evaluation import DatasetEvaluator
from own_sets import STUFF

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.evaluation.evaluate import evaluate_test_sets
from mtl_d2.evaluation.semantic import SEMANTIC

TASKS = ("detection", "semantic")


class Looking(DatasetEvaluator):
    """Keeps what it is given."""

    def __init__(self):
        self.outputs = []

    def process(self, inputs, outputs):
        self.outputs += outputs

    def evaluate(self):
        return {"bbox": {"AP": 1.0}}


@pytest.fixture
def config(sets):
    sets.register("boxes", sets.records())
    sets.register("maps", sets.records(boxes=False, maps=True))
    cfg = sets.config("boxes", "maps", tasks=TASKS)
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return MultiTaskTrainer.build_model(config)


def given(cfg, model, evaluators=None):
    """Keys and dimensions of the outputs of each data set, and the results."""
    seen = {}

    def watch(name, evaluator):
        process = evaluator.process

        def look(inputs, outputs):
            seen[name] = {key: getattr(value, "ndim", None) for key, value in outputs[0].items()}
            process(inputs, outputs)

        evaluator.process = look
        return evaluator

    build = evaluators or MultiTaskTrainer.build_evaluator
    results = evaluate_test_sets(
        cfg, model, MultiTaskTrainer.build_test_loader, lambda cfg, name: watch(name, build(cfg, name))
    )
    return seen, results


def test_each_set_gets_the_predictions_that_it_has_labels_for(config, model):
    seen, results = given(config, model)
    assert seen == {"boxes": {"instances": None}, "maps": {"sem_seg": 2}}
    assert {"bbox", "sem_seg"} <= {group.partition("@")[0] for group in results}
    assert not results.failures


def test_tool_that_takes_no_classes_gets_scores_and_has_the_same_metrics(config, model, monkeypatch):
    _, of_ids = given(config, model)
    monkeypatch.setattr("mtl_d2.tasks.semantic.SEMANTIC", replace(SEMANTIC, takes_ids=False))
    seen, of_scores = given(config, model)
    assert seen["maps"] == {"sem_seg": 3}
    key = next(group for group in of_ids if group.startswith("sem_seg"))
    assert of_ids[key] == pytest.approx(of_scores[key], rel=0, abs=0, nan_ok=True)


def test_evaluators_of_ones_own_get_all_predictions_as_scores(config, model):
    seen, _ = given(config, model, lambda *_: Looking())
    assert seen == {name: {"instances": None, "sem_seg": 3} for name in ("boxes", "maps")}


def test_classes_at_the_map_are_evaluated_too(config, model):
    config.MTL.CLASSES_AT = "map"
    seen, results = given(config, model)
    assert seen["maps"] == {"sem_seg": 2}
    key = next(group for group in results if group.startswith("sem_seg"))
    assert {f"IoU-{name}" for name in STUFF} <= set(results[key])


def test_unknown_place_of_classes_is_named(config):
    config.MTL.CLASSES_AT = "score"
    with pytest.raises(ConfigError, match=r"MTL\.CLASSES_AT is 'score', which is none of 'image', 'map'"):
        check_mtl_config(config)
