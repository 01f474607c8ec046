#!/usr/bin/env python3
"""Trains or evaluates a multi-task model by a config file.

tools/train_net.py --config-file configs/bdd100k_mclgs.yaml [--num-gpus N] [--resume] [--eval-only] [KEY VALUE ...]
tools/train_net.py --config-file ... --stop-after K [--resume]       # K updates now, the rest by --resume
torchrun --nproc-per-node N tools/train_net.py --config-file ...     # on CPUs and several machines as well
"""

from __future__ import annotations

from mtl_d2 import collect_later  # isort: split

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import Check, check_mtl_config
from mtl_d2.config_checks.machine import check_device, check_output, check_weights
from mtl_d2.config_scaling import follow_processes
from mtl_d2.data import DataError, check_data, register_all
from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.data.reading import require_same_records
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.build import method_name
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer, stored_config
from mtl_d2.engine.early import EarlyLines
from mtl_d2.engine.identity import FILE as RUN_FILE
from mtl_d2.engine.identity import begin_run
from mtl_d2.engine.launch import process_group, start
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.evaluation.augmented import add_augmented
from mtl_d2.evaluation.build import check_evaluation
from mtl_d2.evaluation.errors import EvaluationError
from mtl_d2.evaluation.rehearsal import Notes, rehearse
from mtl_d2.evaluation.results import add_results_row, number_of_parameters
from mtl_d2.files import WriteError, naming, refusal, write_atomically
from mtl_d2.processes import number_of_processes
from mtl_d2.tasks.registry import label_files

collect_later.as_ever()

CONFIG = "config.yaml"  # detectron2's name for it
# What a user can mend: told in a line, without a traceback.
EXPECTED = (
    *(ConfigError, DataError, CheckpointError, ForbiddenContentError),
    *(FloatingPointError, EvaluationError, WriteError),
)


def prepare(args: argparse.Namespace, *further: Check) -> Any:
    """The config of a run for the processes that there are, checked with its data; the data sets are registered.

    Args:
        args: the config file, and what is set besides.
        further: checks of what is outside of the config.

    Raises:
        ConfigError, DataError: every mistake that can be known before anything is built.
    """
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, args.config_file, args.opts, allow_unsafe=True)
    cfg = follow_processes(cfg, number_of_processes())
    check_mtl_config(cfg, *further)
    check_data(cfg)
    check_evaluation(cfg)
    return cfg


def settle_seed(cfg: Any, resume: bool) -> None:
    """Draws a seed if the config has none, so that what the run leaves has one; a resumed run has its own."""
    stored = stored_config(cfg.OUTPUT_DIR) if resume and cfg.SEED < 0 else ""
    if stored:
        cfg.SEED = yaml.safe_load(stored)["SEED"]
    if cfg.SEED < 0:
        cfg.SEED = comm.shared_random_seed() % 2**31
    cfg.freeze()


def main(args: argparse.Namespace) -> Any:
    """One process of a training or an evaluation."""
    weights = partial(check_weights, evaluate=args.eval_only, resume=args.resume)
    with EarlyLines() as early:
        cfg = prepare(args, check_device, check_output, weights)
        with process_group(cfg.MODEL.DEVICE):
            settle_seed(cfg, args.resume)
            require_same_records((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST), label_files(cfg.MTL.TASKS))
            return run(cfg, args, rehearse(cfg), early)


def run(cfg: Any, args: argparse.Namespace, notes: Notes, early: EarlyLines) -> Any:
    """Trains or evaluates, beside the other processes; ``notes`` and ``early`` are for the log."""
    if args.eval_only:
        return evaluate(cfg, args, notes, early)
    folder = Path(cfg.OUTPUT_DIR)
    with put_back(folder / CONFIG, folder / RUN_FILE, where_it_fails=True):
        if comm.is_main_process() and not args.resume:
            begin_run(folder)  # from the moment on that its config is in the folder
        set_up(cfg, args, notes, early)
        trainer = MultiTaskTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        if args.stop_after is not None:
            trainer.stop_after(args.stop_after)
    return trainer.train()


def evaluate(cfg: Any, args: argparse.Namespace, notes: Notes, early: EarlyLines) -> Any:
    """Evaluates alone; the config in the folder stays that of the training there, which the report tells of."""
    with put_back(Path(cfg.OUTPUT_DIR, CONFIG)):
        set_up(cfg, args, notes, early)
    model = MultiTaskTrainer.build_model(cfg)
    checkpointer = MultiTaskCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.classes = trained_classes(cfg)
    checkpointer.load_to_evaluate(cfg.MODEL.WEIGHTS, args.resume)
    results = MultiTaskTrainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        add_augmented(cfg, model, results, MultiTaskTrainer.test)
    if comm.is_main_process():
        name, parameters = method_name(cfg), number_of_parameters(model)
        add_results_row(cfg.OUTPUT_DIR, name, results, own=True, notes=results.remarks, parameters=parameters)
        verify_results(cfg, results)
    results.require_complete()
    return results


def set_up(cfg: Any, args: argparse.Namespace, notes: Notes, early: EarlyLines) -> None:
    """Log, seed and config of the run, by detectron2."""
    with naming(Path(cfg.OUTPUT_DIR, CONFIG)):
        default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="mtl_d2")
    early.hand_over()
    notes.log()


@contextmanager
def put_back(*paths: Path, where_it_fails: bool = False) -> Iterator[None]:
    """What is written meanwhile over files that were there before is undone, always or only where an error ends it."""
    before = (
        {path: path.read_text(encoding="utf-8") for path in paths if path.is_file()} if comm.is_main_process() else {}
    )
    undo = True
    try:
        yield
        undo = not where_it_fails
    finally:
        for path, text in before.items() if undo else ():
            write_atomically(path, text)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """detectron2's arguments, and ours."""
    parser = default_argument_parser(__doc__)
    parser.add_argument(
        "--stop-after",
        type=int,
        metavar="K",
        help="end after K updates of the training, with a checkpoint and, in held_out.json, what the images held out "
        "of training give; --resume goes on, as if the run had never stopped",
    )
    args = parser.parse_args(arguments)
    if args.stop_after is not None and args.eval_only:
        parser.error("--stop-after is for trainings: leave it out, or --eval-only")
    return args


def keep_traceback(error: Exception) -> None:
    """In the file of the log alone: on a terminal the error is one line."""
    logger = logging.getLogger("mtl_d2")
    where = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.DEBUG, __file__, 0, "The run ended here:", (), where)
    for handler in logger.handlers:
        if getattr(handler, "stream", None) not in (sys.stdout, sys.stderr):
            handler.handle(record)


if __name__ == "__main__":
    logging.raiseExceptions = False  # on a full disk every line of log.txt would print a traceback over the error
    args = parse()
    try:
        start(main, args)
    except EXPECTED as error:
        keep_traceback(error)
        sys.exit(f"error: {error}")
    except OSError as error:
        if not refusal(error):
            raise
        sys.exit(f"error: {refusal(error)}")
