#!/usr/bin/env python3
"""Trains or evaluates a multi-task model by a config file.

tools/train_net.py --config-file configs/bdd100k_mclgs.yaml [--num-gpus N] [--resume] [--eval-only] [KEY VALUE ...]
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, check_data, register_all
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.evaluation.build import check_evaluation


def prepare(args: argparse.Namespace) -> Any:
    """The config of a run, checked with its data; the data sets are registered.

    Raises:
        ConfigError, DataError: every mistake that can be known before anything is built.
    """
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, args.config_file, args.opts)
    check_mtl_config(cfg)
    check_data(cfg)
    check_evaluation(cfg)
    if cfg.SEED < 0:  # drawn here, so that the config that the run leaves is the one to resume with
        cfg.SEED = comm.shared_random_seed() % 2**31
    cfg.freeze()
    return cfg


def main(args: argparse.Namespace) -> Any:
    """One process of a training or an evaluation."""
    cfg = prepare(args)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="mtl_d2")
    if args.eval_only:
        model = MultiTaskTrainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = MultiTaskTrainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = MultiTaskTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """detectron2's arguments."""
    return default_argument_parser(__doc__).parse_args(arguments)


if __name__ == "__main__":
    args = parse()
    try:
        launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except (ConfigError, DataError, FloatingPointError) as error:
        logging.getLogger("mtl_d2").debug("", exc_info=error)
        sys.exit(f"error: {error}")
