"""detectron2's DefaultTrainer around the multi-task update."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluators
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from detectron2.utils.logger import setup_logger

from mtl_d2.balancing import Balancer
from mtl_d2.config import needs_evaluation
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import build_test_loader, build_train_loader
from mtl_d2.data.holdout import register_held_out
from mtl_d2.engine.build import build_allocation, build_balancer, build_precision
from mtl_d2.engine.hooks import ReportHook, ValidationHook
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.engine.reduce import broadcast_model, build_reduction
from mtl_d2.engine.speed import speed_up
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.results import flat_table, merge_results

CONSOLE_PERIOD = 20  # updates between two lines on the console, as in detectron2


class MultiTaskTrainer(DefaultTrainer):
    """Trains a multi-task model by a config, as detectron2's DefaultTrainer does a model of one task.

    Schedule, hooks, checkpoints and evaluation are detectron2's; the update is ``MultiTaskLoop``'s. The model is never
    wrapped in DistributedDataParallel: the per-task gradients are reduced by ourselves.
    """

    def __init__(self, cfg: Any) -> None:
        """Builds all of it.

        Args:
            cfg: detectron2's config with ``add_mtl_config``'s keys.

        Raises:
            ConfigError: every mistake in the config at once.
        """
        check_mtl_config(cfg)
        super(DefaultTrainer, self).__init__()  # DefaultTrainer's own would wrap the model, which fails on a CPU
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        broadcast_model(model)
        speed_up(model, cfg)
        optimizer = self.build_optimizer(cfg, model)
        balancer = build_balancer(cfg).to(torch.float64)
        add_weighting_parameters(optimizer, balancer, cfg)
        self._trainer = MultiTaskLoop(
            model,
            optimizer,
            balancer,
            partial(self.build_train_loader, cfg),
            build_allocation(cfg),
            clip_norm=cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE if clips_globally(cfg) else None,
            reduction=build_reduction(),
            last_shared=cfg.MTL.LAST_SHARED_LAYER,
            precision=build_precision(cfg),
            accumulate=cfg.MTL.ACCUMULATE,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def train(self) -> Any:
        """Trains up to ``SOLVER.MAX_ITER``; returns the results of the last evaluation, None if there was none."""
        # The profiling executor gives other bits on a scripted function's first calls in a process, so that a resumed
        # run would differ from one that was never stopped.
        with torch.jit.optimized_execution(False):
            super().train()
        return getattr(self, "_last_eval_results", None)

    def build_hooks(self) -> list[HookBase | None]:
        """detectron2's hooks, with a writer period of our own for the files, held-out evaluation, and the report."""
        found = super().build_hooks()
        if needs_evaluation(self.cfg):
            saving = (hooks.PeriodicCheckpointer, hooks.EvalHook)  # the first of them only on the main process
            place = next(i for i, hook in enumerate(found) if isinstance(hook, saving))
            found.insert(place, self._build_validation())
        if not comm.is_main_process():
            return found
        found.pop()  # detectron2's writers, all at one period
        output = self.cfg.OUTPUT_DIR
        files = [JSONWriter(f"{output}/metrics.json"), TensorboardXWriter(output)]
        found.append(hooks.PeriodicWriter([CommonMetricPrinter(self.max_iter)], period=CONSOLE_PERIOD))
        found.append(hooks.PeriodicWriter(files, period=self.cfg.MTL.LOG_PERIOD))
        found.append(ReportHook(self.cfg))
        return found

    def _build_validation(self) -> ValidationHook:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TEST = register_held_out(cfg)
        weighting = self._trainer.balancer.scalarization.weighting
        return ValidationHook(cfg.TEST.EVAL_PERIOD, partial(self.test, cfg, self._trainer.model), weighting)

    def state_dict(self) -> dict[str, Any]:
        """The iteration, the hooks and the loop."""
        state = super(DefaultTrainer, self).state_dict()
        state["loop"] = self._trainer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        super(DefaultTrainer, self).load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["loop"])

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """detectron2's optimizer; clipping by the global norm is left to the loop."""
        if clips_globally(cfg):
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
        return super().build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: Any, start: int = 0) -> Iterable[list[dict]]:
        """Batches from sample ``start`` of the global stream on."""
        return build_train_loader(cfg, start)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Iterable[list[dict]]:
        """Batches of one test set."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluators:
        """The evaluators that the data set's metadata asks for."""
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def test(cls, cfg: Any, model: torch.nn.Module, evaluators: Any = None) -> OrderedDict:
        """Evaluates on every test set and gives one table: ``{"bbox": {"AP": ...}, "sem_seg": {"mIoU": ...}}``."""
        results = super().test(cfg, model, evaluators)
        if not comm.is_main_process():
            return OrderedDict()
        merged = merge_results(results, cfg.DATASETS.TEST)
        logging.getLogger(__name__).info("Evaluation results:\n%s", flat_table(merged))
        return merged


def add_weighting_parameters(optimizer: torch.optim.Optimizer, balancer: Balancer, cfg: Any) -> None:
    """Lets the optimizer train the weighting's own parameters: no weight decay, a learning rate of their own."""
    own = list(balancer.scalarization.parameters())
    if own:
        rate = cfg.SOLVER.BASE_LR * cfg.MTL.SCALARIZATION.LR_FACTOR
        optimizer.add_param_group({"params": own, "lr": rate, "initial_lr": rate, "weight_decay": 0.0})


def clips_globally(cfg: Any) -> bool:
    """Whether the norm of the whole combined gradient is to be clipped (detectron2's "norm" clips each parameter)."""
    return cfg.SOLVER.CLIP_GRADIENTS.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
