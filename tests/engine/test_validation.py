from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from running import rows, train

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.hooks import CheckpointHook, FailedEvaluations, ValidationHook
from mtl_d2.engine.launch import leave_groups
from mtl_d2.evaluation.results import EvaluationResults

pytestmark = pytest.mark.filterwarnings("ignore")
ACHIEVEMENT = [
    "MTL.SCALARIZATION.NAME", "achievement",
    "MTL.SCALARIZATION.ACHIEVEMENT.METRICS", ("bbox/AP", "sem_seg/mIoU"),
    "MTL.SCALARIZATION.ACHIEVEMENT.POTENTIALS", (40.0, 60.0),
]  # fmt: skip
DTP = ["MTL.SCALARIZATION.NAME", "dtp", "MTL.SCALARIZATION.DTP.METRICS", ("bbox/AP", "sem_seg/mIoU")]


@pytest.fixture
def held_cfg(cfg):
    cfg.merge_from_list([*ACHIEVEMENT, "MTL.DATA.VALIDATION_SHARE", 0.4, "TEST.EVAL_PERIOD", 2])
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS = 0.1, 0  # soon sees a class, so that accuracies differ
    return cfg


def test_weights_follow_the_metrics_of_the_held_out_images(held_cfg):
    trainer = train(held_cfg)
    logged = rows(held_cfg)
    evaluated = [row["iteration"] for row in logged if "validation/sem_seg/mIoU" in row]
    coefficients = [row["coefficient/semantic"] for row in logged]
    assert [i for i in evaluated if i % 2] == [1, 3, 5]
    assert coefficients[0] == coefficients[1] == 0.5  # before the first evaluation
    assert coefficients[2] < 0.5  # it has come nearer to its potential than detection
    assert coefficients[2] == coefficients[3] != coefficients[4]  # each evaluation moves them, and nothing else
    accuracies = trainer._trainer.balancer.scalarization.weighting.accuracies
    assert accuracies.seen[1]
    assert 0 < logged[1]["validation/sem_seg/mIoU"] < 100
    assert trainer.model.training


def test_the_test_sets_have_no_say(held_cfg):
    alone = train(held_cfg).model.state_dict()
    held_cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_sem_seg_val")
    both = train(held_cfg).model.state_dict()
    assert all(torch.equal(alone[name], value) for name, value in both.items())


def test_evaluation_sees_the_held_out_images_alone(held_cfg, monkeypatch):
    seen = []

    def loader(cls, cfg, name):
        seen.append((name, len(DatasetCatalog.get(name))))
        return original(cfg, name)

    original = MultiTaskTrainer.build_test_loader
    monkeypatch.setattr(MultiTaskTrainer, "build_test_loader", classmethod(loader))
    train(held_cfg, until=2)
    assert seen == [("bdd100k_det_train@validation", 2), ("bdd100k_sem_seg_train@validation", 2)]


@pytest.mark.parametrize("stop", [2, 3])
def test_a_run_stopped_at_an_evaluation_or_after_goes_on_as_if_it_had_not(held_cfg, tmp_path, stop):
    whole = train(held_cfg)
    held_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(held_cfg, until=stop)
    resumed = train(held_cfg, resume=True)
    assert resumed.start_iter == stop
    for one, other in ((whole.model, resumed.model), (whole._trainer.balancer, resumed._trainer.balancer)):
        for key, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key


def test_what_was_seen_is_in_the_checkpoint_of_the_same_update(held_cfg):
    kinds = [type(hook) for hook in MultiTaskTrainer(held_cfg)._hooks]
    assert kinds.index(ValidationHook) < kinds.index(CheckpointHook)


def test_weightings_that_look_at_no_accuracy_have_no_evaluation(held_cfg):
    held_cfg.MTL.SCALARIZATION.NAME = "equal"
    assert not any(isinstance(hook, ValidationHook) for hook in MultiTaskTrainer(held_cfg)._hooks)


@pytest.mark.parametrize("method", [ACHIEVEMENT, DTP], ids=["achievement", "dtp"])
def test_accuracies_without_images_held_out_are_refused(cfg, method):
    cfg.merge_from_list(method)
    with pytest.raises(ConfigError) as refusal:
        check_mtl_config(cfg)
    assert "must be > 0, or the weights would be chosen on the test set" in str(refusal.value)
    assert "TEST.EVAL_PERIOD must be at least 1, got 0" in str(refusal.value)
    cfg.merge_from_list(["MTL.DATA.VALIDATION_SHARE", 0.2, "TEST.EVAL_PERIOD", 5])
    check_mtl_config(cfg)


def test_accuracies_of_training_need_no_images_held_out(cfg):
    cfg.merge_from_list([*DTP, "MTL.SCALARIZATION.DTP.SOURCE", "training"])
    check_mtl_config(cfg)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range_are_refused(cfg, share):
    cfg.MTL.DATA.VALIDATION_SHARE = share
    with pytest.raises(ConfigError, match=r"VALIDATION_SHARE must be in \[0, 1\), got"):
        check_mtl_config(cfg)


def ask_rank_0(rank, rendezvous):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(2)
    seen = []
    results = EvaluationResults(bbox={"AP": 20.0}) if rank == 0 else EvaluationResults()
    hook = ValidationHook(2, lambda: results, SimpleNamespace(on_evaluation=seen.append), FailedEvaluations())
    with EventStorage() as storage:
        for update in range(3):
            hook.trainer = SimpleNamespace(iter=update, storage=storage)
            hook.after_step()
    leave_groups()
    assert seen == [{"bbox": {"AP": 20.0}}]
    assert storage.latest()["validation/bbox/AP"][0] == 20.0


def test_every_process_sees_the_results_of_the_first(tmp_path):
    mp.spawn(ask_rank_0, (str(tmp_path / "rendezvous"),), nprocs=2)
