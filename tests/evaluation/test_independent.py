"""Evaluators that fail cost their own metrics alone."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from own_sets import Sets

from mtl_d2.data import DataError
from mtl_d2.engine.launch import leave_groups
from mtl_d2.evaluation.errors import EvaluationError
from mtl_d2.evaluation.evaluate import evaluate_test_sets
from mtl_d2.evaluation.independent import IndependentEvaluators
from mtl_d2.evaluation.rehearsal import rehearse


class Counting(DatasetEvaluator):
    """Counts images over all processes, and fails where it is told to."""

    def __init__(self, group, fails=""):
        self.group, self.fails, self.count = group, fails, 0
        self._may_fail("init")

    def _may_fail(self, step):
        if self.fails == step:
            raise KeyError("area")

    def reset(self):
        self._may_fail("reset")
        self.count = 0

    def process(self, inputs, outputs):
        self._may_fail("process")
        self.count += len(inputs)

    def evaluate(self):
        self._may_fail("evaluate")
        counts = comm.gather(self.count)
        return {self.group: {"AP": float(sum(counts))}} if comm.is_main_process() else None


def evaluators(fails, folder=None):
    builders = {("detection",): lambda: Counting("bbox", fails), ("semantic",): lambda: Counting("sem_seg")}
    return IndependentEvaluators("set", builders, folder)


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5)], ids=["64", "32", "torch"])
def test_numbers_of_numpy_and_torch_become_pythons(number):
    counting = Counting("depth")
    counting.evaluate = lambda: {"depth": {"rmse": number}}
    (value,) = IndependentEvaluators("set", {("depth",): lambda: counting}).evaluate()["depth"].values()
    assert type(value) is float
    assert value == 0.5


@pytest.mark.parametrize("step", ["init", "reset", "process", "evaluate"])
def test_one_that_fails_at_any_step_takes_nothing_from_the_other(tmp_path, step, caplog):
    both = evaluators(step, tmp_path)
    both.reset()
    both.process([{}, {}], [{}, {}])
    assert both.evaluate() == {"sem_seg": {"AP": 2.0}}
    (line,) = both.failures.values()
    assert line.startswith("set: the evaluation of detection failed (KeyError: 'area'); its traceback is in ")
    assert "_may_fail" in (tmp_path / "failure.txt").read_text()
    assert line in caplog.text


class Model(torch.nn.Module):
    def forward(self, inputs):
        if "bad" in inputs[0]:
            raise RuntimeError("out of memory")
        return [{} for _ in inputs]


def evaluate(sets, model, loaders, fails=""):
    cfg = sets.config(*loaders, tasks=("detection", "semantic"))
    return evaluate_test_sets(cfg, model, lambda _, name: loaders[name], lambda *_: evaluators(fails))


def test_results_of_what_did_not_fail_come_with_what_did(sets):
    results = evaluate(sets, Model(), {"set": [[{}]]}, "evaluate")
    assert results == {"sem_seg": {"AP": 1.0}}
    assert results.notes == ()
    with pytest.raises(EvaluationError, match="set: the evaluation of detection failed"):
        results.require_complete()


def test_model_that_fails_on_a_set_costs_that_set_alone(sets):
    model = Model().train()
    results = evaluate(sets, model, {"one": [[{}], [{"bad": 1}]], "two": [[{}], [{}]]})
    assert results == {"bbox": {"AP": 2.0}, "sem_seg": {"AP": 2.0}}
    assert len(results.failures) == 2
    assert model.training
    assert results.failures[0].startswith("set: the evaluation of detection failed (RuntimeError: out of memory)")


def test_set_that_stands_twice_is_evaluated_once(sets):
    cfg = sets.config("set", "set", tasks=("detection", "semantic"))
    results = evaluate_test_sets(cfg, Model(), lambda *_: [[{}]], lambda *_: evaluators(""))
    assert results == {"bbox": {"AP": 1.0}, "sem_seg": {"AP": 1.0}}


def test_trained_task_that_no_set_labels_is_noted(sets):
    cfg = sets.config("set", tasks=("detection", "instance", "semantic"))
    results = evaluate_test_sets(cfg, Model(), lambda *_: [[{}]], lambda *_: evaluators(""))
    assert [note.split(":")[0] for note in results.notes] == ["'instance' is trained and not evaluated"]
    results.require_complete()


def test_evaluators_that_are_not_ours_are_taken_as_they_are(sets):
    cfg = sets.config("set", tasks=("detection", "semantic"))
    results = evaluate_test_sets(cfg, Model(), lambda *_: [[{}]], lambda *_: Counting("bbox"))
    assert results == {"bbox": {"AP": 1.0}}
    assert results.notes == ()


def on_two(rank, root):
    torch.set_num_threads(1)
    minute = timedelta(minutes=1)  # so long processes out of step wait for each other
    dist.init_process_group("gloo", f"file://{root}/rendezvous", timeout=minute, rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    sets = Sets(Path(root))
    fail_on_one(rank, sets)
    rehearse_together(sets)
    leave_groups()


def fail_on_one(rank, sets):
    for step in ("init", "reset", "process"):
        results = evaluate(sets, Model(), {"set": [[{}]]}, step if rank == 1 else "")
        assert results == ({"sem_seg": {"AP": 2.0}} if rank == 0 else {})
        assert len(results.failures) == 1
    results = evaluate(sets, Model(), {"one": [[{"bad": 1} if rank else {}]], "two": [[{}]]})
    assert results == ({"bbox": {"AP": 2.0}, "sem_seg": {"AP": 2.0}} if rank == 0 else {})
    assert len(results.failures) == 2


def rehearse_together(sets):
    records = sets.records(5, masks=True, maps=True)
    good = sets.config(sets.register("good", records), tasks=("detection", "instance", "semantic"))
    turned = sets.register("turned", records, thing_classes=["dog", "car"])
    comm.synchronize()  # all files are written
    notes = rehearse(good)
    assert len(set(comm.all_gather(notes.warnings))) == 1
    assert "5 of 5 images for semantic" in notes.cost[0]
    with pytest.raises(DataError, match=f"turned: {sets.root}/0.png: pycocotools gives the ground truth") as refused:
        rehearse(sets.config(turned, train="good"))
    assert len(set(comm.all_gather(str(refused.value)))) == 1
    comm.synchronize()
    assert not Path(good.OUTPUT_DIR).exists()


def test_two_processes_stay_in_step(tmp_path):
    mp.spawn(on_two, (str(tmp_path),), nprocs=2)
