"""detectron2's DefaultTrainer around the multi-task update."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from detectron2.utils.logger import setup_logger

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_checks.machine import check_device
from mtl_d2.config_checks.solver import slow_precision
from mtl_d2.config_scaling import follow_processes, scaled_counts
from mtl_d2.data import build_test_loader, build_train_loader
from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.data.pseudo_labelled import changed_folders, folder_digests
from mtl_d2.data.reading import changed_records, digests
from mtl_d2.engine.build import build_allocation, build_balancer, build_precision, build_reduction
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.choice import build_choice
from mtl_d2.engine.generators import restore_generators
from mtl_d2.engine.held_out import add_held_out
from mtl_d2.engine.hooks import CheckpointHook, FailedEvaluations, ReportHook
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.engine.metrics import LogFiles
from mtl_d2.engine.model_check import check_model
from mtl_d2.engine.optimizer import add_weighting_parameters, clips_globally, of_checkpoint, set_rates
from mtl_d2.engine.resume import compare_configs, require_keys, require_same_data, warn_of_ranks, with_values
from mtl_d2.engine.speed import speed_up
from mtl_d2.engine.stop import DiskRefused, StopRequest, StopTraining
from mtl_d2.engine.union_log import UnionLog
from mtl_d2.evaluation.augmented import AugmentedEvaluation
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.criteria import chosen_by_itself
from mtl_d2.evaluation.evaluate import evaluate_test_sets
from mtl_d2.evaluation.independent import IndependentEvaluators
from mtl_d2.evaluation.results import EvaluationResults
from mtl_d2.files import WriteError, refusal
from mtl_d2.modeling.build_errors import said_of_keys
from mtl_d2.optimizers import build_optimizer
from mtl_d2.parallel.all_ranks import AllRanks, broadcast_model
from mtl_d2.parallel.replicas import ReplicaCheck
from mtl_d2.schedules import build_lr_scheduler
from mtl_d2.tasks.registry import label_files

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
        cfg = follow_processes(cfg, comm.get_world_size())
        check_mtl_config(cfg, check_device)
        super(DefaultTrainer, self).__init__()  # DefaultTrainer's own would wrap the model, which fails on a CPU
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        lines = [(logging.WARNING, slow_precision(cfg)), (logging.WARNING, chosen_by_itself(cfg))]
        for level, line in (*lines, (logging.INFO, scaled_counts(cfg))):
            if line:
                logging.getLogger(__name__).log(level, "%s", line)
        model = self.build_model(cfg)
        balancer = build_balancer(cfg).to(torch.float64)
        check_model(model, balancer, cfg)
        broadcast_model(model)
        speed_up(model, cfg)
        optimizer = self.build_optimizer(cfg, model)
        add_weighting_parameters(optimizer, balancer, cfg)
        self._trainer = MultiTaskLoop(
            model,
            optimizer,
            balancer,
            partial(self.build_train_loader, cfg),
            build_allocation(cfg),
            clip_norm=cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE if clips_globally(cfg) else None,
            reduction=build_reduction(cfg.MTL.COMMUNICATION),
            last_shared=cfg.MTL.LAST_SHARED_LAYER,
            precision=build_precision(cfg),
            accumulate=cfg.MTL.ACCUMULATE,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = MultiTaskCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.checkpointer.classes = trained_classes(cfg)
        self._stop_request = StopRequest()
        self._refused = False  # by the disk
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def stop_after(self, updates: int) -> None:
        """Has ``train`` end after so many updates of the training, those made before ``resume_or_load`` included.

        It then leaves a checkpoint that the training goes on from, as if it had never stopped, and what the images held
        out of training give, if there are any, in ``held_out.json``; also where these are all updates.

        Raises:
            ConfigError: they are none, or more than ``SOLVER.MAX_ITER``.
            CheckpointError: more are made already.
        """
        if not 0 < updates <= self.max_iter:
            raise ConfigError(f"--stop-after must be in [1, SOLVER.MAX_ITER {self.max_iter}], got {updates}")
        if updates < self.start_iter:
            raise CheckpointError(
                f"--stop-after is {updates}, but the run in {self.cfg.OUTPUT_DIR} has made {self.start_iter} updates: "
                "give a larger number, or begin anew without --resume"
            )
        self._stop_request.after = updates

    def train(self) -> Any:
        """Trains up to ``SOLVER.MAX_ITER``, or until ``stop_after``, SIGTERM or SIGINT stops it.

        Returns:
            the results of the last evaluation, None if there was none.

        Raises:
            EvaluationError: an evaluation failed, now that everything else is done and written.
        """
        self._stop_request.listen()
        comm.synchronize()  # from the first word of the log on, all processes hear the signals
        try:
            if not 0 < self.start_iter == self._stop_request.after < self.max_iter:  # it is there already
                self._train_until_stopped()
            comm.synchronize()  # one that a signal ended now would take the others with it
            self._look_at_held_out()
        finally:
            self._stop_request.forget()
        self._failed_evaluations.require_none()
        return getattr(self, "_last_eval_results", None)

    def _look_at_held_out(self) -> None:
        """Leaves what the held-out images give, where ``stop_after`` asks for it and the training has come so far."""
        made = min(self.iter + 1, self.max_iter)
        if made != self._stop_request.after or self._held_out is None:
            return
        results = self._held_out()
        self._failed_evaluations.add(made, results.failures)
        if comm.is_main_process():
            add_held_out(self.cfg.OUTPUT_DIR, made, results)

    def _train_until_stopped(self) -> None:
        # The profiling executor gives other bits on a scripted function's first calls in a process, so that a resumed
        # run would differ from one that was never stopped.
        with torch.jit.optimized_execution(False):
            try:
                super().train()
            except StopTraining as stop:
                logging.getLogger(__name__).warning("%s", str(stop).capitalize())
            except DiskRefused as refused:
                raise WriteError(
                    f"{refused}. The training has ended in update {self.iter + 1} of {self.max_iter}; nothing is "
                    "evaluated and reported of a model that no file holds. What was written before is whole: make room "
                    "on the disk, and the same command with --resume goes on from the last checkpoint, or begins anew "
                    "where there is none"
                ) from refused

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Ends the training where the disk takes no more."""
        try:
            yield
        except OSError as error:
            if not refusal(error):
                raise
            self._refused = True
            raise DiskRefused(refusal(error)) from error

    def build_writers(self) -> list[EventWriter]:
        """None: ``build_hooks`` has our own, which open their files when the training begins."""
        return []

    def build_hooks(self) -> list[HookBase | None]:
        """detectron2's hooks, with a writer period of our own for the files, held-out evaluation, and the report."""
        all_hooks = super().build_hooks()
        if comm.is_main_process():
            all_hooks.pop()  # detectron2's writers, all at one period
        all_hooks = [hook for hook in all_hooks if not isinstance(hook, hooks.PeriodicCheckpointer)]
        evaluation = next(i for i, hook in enumerate(all_hooks) if isinstance(hook, hooks.EvalHook))
        self._failed_evaluations = FailedEvaluations()
        choice = build_choice(self, self._failed_evaluations)
        self._held_out = choice.held_out
        saving = CheckpointHook(self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD, self._stop_request)
        seen = [choice.evaluation, self._failed_evaluations, *choice.after]
        if self.cfg.TEST.AUG.ENABLED:
            seen.insert(1, AugmentedEvaluation(self.cfg, self.test))  # its failures are to be seen
        all_hooks[evaluation : evaluation + 1] = [*choice.before, saving, *seen]
        loop, reduction = self._trainer, self._trainer.oracle.reduction
        all_hooks.insert(0, UnionLog(self.cfg.DATASETS.TRAIN))
        if self.cfg.MTL.CHECK_REPLICAS and isinstance(reduction, AllRanks):
            check = ReplicaCheck(self.cfg.MTL.CHECK_REPLICAS, loop.model, loop.balancer, reduction)
            all_hooks.insert(0, hooks.CallbackHook(after_step=lambda trainer: check(trainer.iter)))
        if comm.is_main_process():
            all_hooks.append(hooks.PeriodicWriter([CommonMetricPrinter(self.max_iter)], period=CONSOLE_PERIOD))
            all_hooks.append(LogFiles(self.cfg.OUTPUT_DIR, self.cfg.MTL.LOG_PERIOD))
            all_hooks.append(ReportHook(self.cfg, self._failed_evaluations, choice.of_results))
        return all_hooks

    def before_train(self) -> None:
        """detectron2's; a resumed run first ends the update that its checkpoint was written in."""
        with self._disk():
            self._begin_or_end_an_update()

    def after_step(self) -> None:
        """detectron2's; a file that cannot be written ends the training with the file's name."""
        with self._disk():
            super().after_step()

    def after_train(self) -> None:
        """detectron2's, but for a training that the disk ended: its results would be of a model that is lost."""
        if not self._refused:
            super().after_train()

    def _begin_or_end_an_update(self) -> None:
        if self.start_iter == 0:
            self.checkpointer.begin_run()
        super().before_train()
        if self.start_iter == 0:
            return
        self.iter = self.storage.iter = self.start_iter - 1
        saving = next(i for i, hook in enumerate(self._hooks) if isinstance(hook, CheckpointHook))
        for hook in self._hooks[saving + 1 :]:
            hook.after_step()

    def state_dict(self) -> dict[str, Any]:
        """The iteration, the hooks and the loop; and what is to be the same in the run that goes on."""
        state = super(DefaultTrainer, self).state_dict()
        state["loop"] = self._trainer.state_dict()
        state["config"] = self.cfg.dump()
        state["world_size"] = comm.get_world_size()
        state["records"] = digests(self.cfg.DATASETS.TRAIN, label_files(self.cfg.MTL.TASKS))
        state["pseudo_labels"] = folder_digests(self.cfg)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues after the update that ``state_dict`` was taken in.

        Raises:
            CheckpointError: it was taken in a run of other tasks, methods or training records, or by another version.
        """
        require_keys(state_dict, ("iteration", "hooks", "loop", "config", "world_size"), "trainer state")
        require_keys(state_dict["loop"], self._trainer.state_dict(), "state of the loop")
        warn_of_ranks(state_dict["world_size"], comm.get_world_size(), self.cfg.SOLVER.REFERENCE_WORLD_SIZE)
        compare_configs(state_dict["config"], self.cfg, state_dict["iteration"] + 1)
        records = state_dict.get("records", {})  # earlier versions kept none
        changed = changed_records(records, label_files(self.cfg.MTL.TASKS))
        require_same_data([*changed, *changed_folders(self.cfg, state_dict.get("pseudo_labels", []))])
        rates = list(self.scheduler.base_lrs)
        try:
            self._load_loop(state_dict["loop"], state_dict["config"])
        except (ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint's state does not fit this config ({error}): restore the config, or begin anew without "
                "--resume"
            ) from error
        super(DefaultTrainer, self).load_state_dict(state_dict)
        set_rates(self.scheduler, rates)  # the checkpoint's are those of the config that it was written with
        self.start_iter = self.iter + 1

    def _load_loop(self, state: dict[str, Any], stored_config: str) -> None:
        """Its optimizer is built by this config; the groups that the parameters are in may be others than before."""
        before = with_values(self.cfg, stored_config, (f"SOLVER.{name}" for name in self.cfg.SOLVER))
        like = self.build_optimizer(before, self.model)
        add_weighting_parameters(like, self._trainer.balancer, before)
        self._trainer.load_state_dict(state | {"optimizer": of_checkpoint(self.optimizer, state["optimizer"], like)})

    def resume_or_load(self, resume: bool = True) -> None:
        """Goes on from the newest readable checkpoint in ``OUTPUT_DIR``, or begins with ``MODEL.WEIGHTS``.

        Args:
            resume: do the first, if there is a checkpoint.
        """
        rest = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if self.start_iter == 0:
            return
        states = rest.get("generators", [])
        if len(states) == comm.get_world_size():
            restore_generators(states)
        else:
            seed_all_rng((max(self.cfg.SEED, 0) + self.start_iter * 1_000_003 + comm.get_rank()) % 2**31)

    @classmethod
    def build_model(cls, cfg: Any) -> torch.nn.Module:
        """detectron2's.

        Raises:
            ConfigError: keys of ``MODEL`` do not make a model.
        """
        with said_of_keys(cfg):
            return super().build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """That of ``MTL.OPTIMIZER``; clipping by the global norm is left to the loop."""
        if clips_globally(cfg):
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: Any, optimizer: torch.optim.Optimizer) -> Any:
        """The schedule of ``SOLVER.LR_SCHEDULER_NAME``; see ``mtl_d2.schedules``."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: Any, start: int = 0) -> Iterable[list[dict]]:
        """Batches from sample ``start`` of the global stream on."""
        return build_train_loader(cfg, start)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Iterable[list[dict]]:
        """Batches of one test set."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> IndependentEvaluators:
        """The evaluators that the data set's labels ask for."""
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def test(cls, cfg: Any, model: torch.nn.Module, evaluators: Any = None) -> EvaluationResults:
        """Evaluates on every test set and gives one table: ``{"bbox": {"AP": ...}, "sem_seg": {"mIoU": ...}}``.

        An evaluator that fails costs its own metrics alone; ``failures`` of what is returned says so.

        Args:
            cfg: of the run.
            model: is evaluated.
            evaluators: detectron2's, one for each of ``DATASETS.TEST``; by default those of ``build_evaluator``.
        """
        if evaluators is None:
            return evaluate_test_sets(cfg, model, cls.build_test_loader, cls.build_evaluator)
        given = [evaluators] if isinstance(evaluators, DatasetEvaluator) else list(evaluators)
        by_name = dict(zip(cfg.DATASETS.TEST, given, strict=True))
        return evaluate_test_sets(cfg, model, cls.build_test_loader, lambda _, name: by_name[name])
