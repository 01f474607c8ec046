import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from running import rows, train

from mtl_d2.config import ConfigError
from mtl_d2.engine import MultiTaskTrainer

pytestmark = pytest.mark.filterwarnings("ignore")


def simple_trainer_parameters(cfg):
    """The parameters after detectron2's SimpleTrainer, with its optimizer and schedule, on the same batches."""
    torch.manual_seed(3)
    model = build_model(cfg)
    optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
    schedule = MultiTaskTrainer.build_lr_scheduler(cfg, optimizer)
    trainer = SimpleTrainer(model, MultiTaskTrainer.build_train_loader(cfg), optimizer)
    with torch.jit.optimized_execution(False), EventStorage():
        for _ in range(cfg.SOLVER.MAX_ITER):
            trainer.run_step()
            schedule.step()
    return model.state_dict()


def test_equal_weights_and_sum_are_simple_trainer_bit_for_bit(cfg):
    cfg.DATASETS.TEST = ()
    ours = train(cfg).model.state_dict()
    for name, value in simple_trainer_parameters(cfg).items():
        assert torch.equal(ours[name], value), name


def test_exact_path_with_constant_weights_agrees_with_simple_trainer(mclgs_cfg):
    cfg = mclgs_cfg
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.MAX_ITER = 1
    cfg.MTL.GRADIENT.MCLGS.A0 = 0.0
    cfg.MTL.GRADIENT.SCALE = "sum"
    ours = train(cfg).model.state_dict()
    for name, value in simple_trainer_parameters(cfg).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)


def test_run_leaves_metrics_results_report_and_checkpoint(mclgs_cfg):
    trainer = train(mclgs_cfg)
    output = Path(mclgs_cfg.OUTPUT_DIR)
    assert {"metrics.json", "results.json", "report.html", "model_final.pth", "pictures"} <= {
        p.name for p in output.iterdir()
    }
    first = rows(mclgs_cfg)[0]
    assert {
        "task_loss/detection", "task_loss/semantic", "cosine/detection_semantic", "weight/detection", "pacing",
        "grad_norm/semantic", "loss_fcos_cls", "loss_sem_seg_dice", "total_loss", "lr", "data_time",
    } <= set(first)  # fmt: skip
    assert first["pacing"] == 120.0
    assert first["cosine_defined"] == 1.0
    assert {"bbox", "sem_seg"} <= set(trainer._last_eval_results)


def test_eval_only_of_the_final_model_reproduces_the_numbers(mclgs_cfg):
    trained = train(mclgs_cfg)._last_eval_results
    model = build_model(mclgs_cfg)
    DetectionCheckpointer(model).load(str(Path(mclgs_cfg.OUTPUT_DIR, "model_final.pth")))
    again = MultiTaskTrainer.test(mclgs_cfg, model)
    assert json.dumps(again, default=float) == json.dumps(trained, default=float)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_resumed_run_equals_one_that_never_stopped(mclgs_cfg, tmp_path, stop):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.MTL.DATA.PER_DATASET = ()  # the shuffled union: some updates lack a task
    mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    whole = train(mclgs_cfg).model.state_dict()
    mclgs_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(mclgs_cfg, until=stop)
    resumed = train(mclgs_cfg, resume=True)
    assert resumed.start_iter == stop
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(whole[name], value), name


STATEFUL = {
    "uncertainty": ["MTL.SCALARIZATION.NAME", "uncertainty"],
    "dwa": ["MTL.SCALARIZATION.NAME", "dwa", "MTL.SCALARIZATION.DWA.PERIOD", 1],
    "gradnorm": ["MTL.SCALARIZATION.NAME", "gradnorm"],
    "famo": ["MTL.SCALARIZATION.NAME", "famo"],
    "dtp": ["MTL.SCALARIZATION.NAME", "dtp", "MTL.SCALARIZATION.DTP.SOURCE", "training"],
    "imtl": ["MTL.SCALARIZATION.NAME", "imtl_l", "MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "imtl_g"],
    "rlw": ["MTL.SCALARIZATION.NAME", "rlw", "MTL.GRADIENT.AGGREGATOR", "pcgrad"],
    "nash": ["MTL.GRADIENT.AGGREGATOR", "nash_mtl", "MTL.GRADIENT.NASH_MTL.EVERY", 2],
    "stch, gradvac, smoothed": [
        *("MTL.SCALARIZATION.NAME", "stch", "MTL.SCALARIZATION.STCH.WARMUP", 1, "MTL.SCALARIZATION.STCH.PERIOD", 2),
        *("MTL.GRADIENT.RESCALE", "unit", "MTL.GRADIENT.AGGREGATOR", "gradvac", "MTL.GRADIENT.SMOOTH", 0.5),
    ],
    "igb of logarithms, pcd": [
        *("MTL.SCALARIZATION.NAME", "igb", "MTL.SCALARIZATION.IGB.PERIOD", 2, "MTL.SCALARIZATION.MEAN", "log"),
        *("MTL.GRADIENT.AGGREGATOR", "pcd", "MTL.GRADIENT.PCD.TAU", 0.5),
    ],
    "ldc, fairgrad": ["MTL.SCALARIZATION.NAME", "ldc", "MTL.GRADIENT.AGGREGATOR", "fairgrad"],
    "go4align, mclgs with a floor": [
        *("MTL.SCALARIZATION.NAME", "go4align", "MTL.SCALARIZATION.GO4ALIGN.STEP", 0.1),
        *("MTL.GRADIENT.MCLGS.FLOOR", 0.5),
    ],
    "averaged cosines": ["MTL.GRADIENT.MCLGS.EMA", 0.9, "MTL.GRADIENT.MCLGS.EVERY", 2],
    "graddrop": ["MTL.GRADIENT.AGGREGATOR", "graddrop", "MTL.STEP.NAME", "split"],
}


@pytest.mark.parametrize("name", STATEFUL)
def test_method_state_and_draws_survive_a_real_checkpoint(mclgs_cfg, tmp_path, name):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.CHECKPOINT_PERIOD = 1
    mclgs_cfg.SOLVER.MAX_ITER = 5
    mclgs_cfg.merge_from_list(STATEFUL[name])
    whole = train(mclgs_cfg)
    mclgs_cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(mclgs_cfg, until=3)
    resumed = train(mclgs_cfg, resume=True)
    for one, other in ((whole.model, resumed.model), (whole._trainer.balancer, resumed._trainer.balancer)):
        for key, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key


def test_updates_without_one_task_leave_its_head_alone(mclgs_cfg):
    cfg = mclgs_cfg
    cfg.DATASETS.TRAIN, cfg.MTL.DATA.PER_DATASET = ("bdd100k_det_train",), ()
    cfg.DATASETS.TEST = ()
    torch.manual_seed(3)
    trainer = MultiTaskTrainer(cfg)
    before = {n: p.clone() for n, p in trainer.model.sem_seg_head.named_parameters()}
    trainer.train()
    assert all(torch.equal(before[n], p) for n, p in trainer.model.sem_seg_head.named_parameters())
    assert rows(cfg)[-1]["cosine_defined"] == 0.0
    assert not any(key.startswith("cosine/") for key in rows(cfg)[-1])


def test_clipping_is_by_the_norm_of_the_whole_update(cfg):
    cfg.SOLVER.NESTEROV = False  # torch's step would write into .grad
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01
    cfg.SOLVER.MAX_ITER = 1
    trainer = train(cfg)
    norm = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert rows(cfg)[0]["grad_norm/update"] > 0.01


def test_detectron2s_clipping_by_parameter_still_works(mclgs_cfg):
    cfg = mclgs_cfg
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01
    cfg.SOLVER.MAX_ITER = 1
    trainer = train(cfg)
    assert max(p.grad.norm() for p in trainer.model.parameters() if p.grad is not None) < 0.0101


def test_mistakes_in_the_config_are_told_before_anything_is_built(cfg):
    cfg.MTL.GRADIENT.AGGREGATOR = "meen"
    cfg.SOLVER.MAX_ITER = 0
    with pytest.raises(ConfigError, match=r"(?s)'meen'.*did you mean 'mean'.*SOLVER\.MAX_ITER must be at least 1"):
        MultiTaskTrainer(cfg)


def test_non_finite_loss_stops_the_run_and_leaves_a_report(mclgs_cfg):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.SOLVER.BASE_LR = 1e12
    mclgs_cfg.SOLVER.WARMUP_ITERS = 0
    with pytest.raises(FloatingPointError, match=r"not finite.*Lower SOLVER\.BASE_LR"):
        train(mclgs_cfg)
    assert Path(mclgs_cfg.OUTPUT_DIR, "report.html").exists()
