"""Trainings with ground truth and pseudo labels by a config: what they log, resume and refuse."""

import json
from pathlib import Path

import pytest
import torch
from running import rows, train
from taught_folder import write_folder

from mtl_d2.config import ConfigError
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.model_check import check_model

pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = ("detection", "semantic")
LABELLED = {"bdd100k_det_train": BOTH, "bdd100k_sem_seg_train": BOTH}


@pytest.fixture
def taught(mclgs_cfg, tmp_path):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    mclgs_cfg.MTL.PSEUDO_LABELS.FOLDERS = [str(write_folder(tmp_path / "labels", LABELLED))]
    return mclgs_cfg


CHOICES = {
    "sta in micro-batches": ["MTL.ALLOCATION.NAME", "sta", "MTL.ACCUMULATE", 2],
    "ista, true labels drawn": ["MTL.ALLOCATION.NAME", "ista", "MTL.PSEUDO_LABELS.ALLOCATE", False],
}


@pytest.mark.parametrize("name", CHOICES)
def test_resumed_run_equals_one_that_never_stopped(taught, tmp_path, name):
    taught.merge_from_list(CHOICES[name])
    whole = train(taught, until=3)
    taught.OUTPUT_DIR = str(tmp_path / "stopped")
    train(taught, until=2)
    resumed = train(taught, resume=True, until=3)
    state = whole.model.state_dict()
    assert "pseudo_loss_normalizer" in state
    for key, value in state.items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


def test_both_tasks_are_there_in_every_update_and_terms_of_each_source_are_logged(taught):
    taught.MTL.DATA.PER_DATASET = (4, 1)
    taught.SOLVER.IMS_PER_BATCH = 5
    train(taught, until=2)
    updates = [row for row in rows(taught) if "total_loss" in row]
    assert len(updates) == 2
    for row in updates:
        terms = {key: value for key, value in row.items() if key.removeprefix("pseudo/").startswith("loss_")}
        assert sum(key.startswith("pseudo/") for key in terms) == len(terms) / 2
        assert row["cosine_defined"] == 1
        assert {"num_pos_anchors", "pseudo/num_pos_anchors"} <= set(row)
        assert "task_loss/semantic" in row
    first = updates[0]
    terms = sum(value for key, value in first.items() if key.removeprefix("pseudo/").startswith("loss_"))
    assert first["total_loss"] == pytest.approx(terms, rel=1e-6)
    assert first["task_loss/detection"] + first["task_loss/semantic"] == pytest.approx(terms, rel=1e-6)


def test_pseudo_labels_that_are_others_than_those_of_the_checkpoint_are_refused(taught):
    train(taught, until=2)
    manifest = Path(taught.MTL.PSEUDO_LABELS.FOLDERS[0], "manifest.json")
    content = json.loads(manifest.read_text())
    content["tasks"]["semantic"]["teacher"]["sha256"] = "1"
    manifest.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="its pseudo labels are not those of the run that stopped"):
        train(taught, resume=True, until=4)


def test_a_model_that_knows_the_ground_truth_alone_is_refused(taught):
    trainer = MultiTaskTrainer(taught)
    trainer.model.tasks = tuple(head.task for head in trainer.model.task_heads.values())
    with pytest.raises(ConfigError, match="MultiTaskFCOS learns from the ground truth alone: have it give `set_heads`"):
        check_model(trainer.model, trainer._trainer.balancer, taught)
