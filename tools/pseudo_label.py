#!/usr/bin/env python3
"""Labels images with what a trained network predicts, for another network to learn from: docs/pseudo_labels.md.

tools/pseudo_label.py --config-file TEACHER --weights FILE --datasets NAME ... --output FOLDER [KEY VALUE ...]
torchrun --nproc-per-node N tools/pseudo_label.py ...     # on CPUs as well; the processes share the images

Teachers of different tasks may write into one FOLDER. The same command goes on with what was stopped; labels of another
teacher, or with other thresholds, are never overwritten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from detectron2.config import get_cfg
from detectron2.data.detection_utils import SizeMismatchError

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_checks.declared import check_declared
from mtl_d2.config_checks.machine import check_device, check_output, check_weights
from mtl_d2.config_checks.methods import check_tasks
from mtl_d2.config_checks.model import check_model
from mtl_d2.data import DataError, register_all
from mtl_d2.data.checks.files import missing_files
from mtl_d2.data.checks.records import read
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.data.listing import Listing, image_paths
from mtl_d2.data.reading import require_same_records
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.launch import process_group, start
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.files import WriteError
from mtl_d2.pseudo_labels.run import Plan, run
from mtl_d2.pseudo_labels.teacher import labelled_kinds, too_many_classes
from mtl_d2.pseudo_labels.thresholds import Thresholds

EXPECTED = (  # what a user can mend
    *(ConfigError, DataError, CheckpointError),
    *(ForbiddenContentError, WriteError, SizeMismatchError),
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    usual = Thresholds()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="TEACHER", help="config of the teacher's training")
    parser.add_argument("--weights", required=True, metavar="FILE", help="its weights, such as model_final.pth")
    parser.add_argument("--datasets", required=True, nargs="+", metavar="NAME", help="registered data sets to label")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="folder of the labels")
    for name, meaning in (
        ("score", "score of an object, at least"),
        ("nms", "IoU above which the lower of two objects of a class is dropped"),
        ("confidence", "probability of a pixel's class, at least"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{meaning} ({default})")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs that share the images (1)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values")
    parser.set_defaults(num_machines=1, machine_rank=0, dist_url="auto")
    return parser.parse_intermixed_args(arguments)


def prepare(args: argparse.Namespace) -> Plan:
    """What is to be done, checked as far as it can be before anything is loaded; the data sets are registered.

    Raises:
        ConfigError: one line for each mistake in the arguments or the config.
        DataError: one line for each in a data set.
    """
    thresholds = Thresholds(args.score, args.nms, args.confidence)
    refuse(thresholds.mistakes())
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, args.config_file, args.opts, allow_unsafe=True)
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = args.weights, str(args.output)
    cfg.DATASETS.TEST = datasets = tuple(dict.fromkeys(args.datasets))
    refuse(line for check in (check_tasks, check_declared, check_model, check_device) for line in check(cfg))
    refuse(without_weights(args.weights))
    refuse(line.replace("MODEL.WEIGHTS", "--weights") for line in check_weights(cfg))
    refuse(line.replace("OUTPUT_DIR", "--output") for line in check_output(cfg))
    kinds = labelled_kinds(cfg.MTL.TASKS)
    refuse(too_many_classes(cfg, kinds))
    map_classes(cfg)
    cfg.DATASETS.TEST = ()
    mistakes = [line for name in datasets for line in wrong_data(name)]
    if mistakes:
        raise DataError("\n".join(mistakes))
    cfg.freeze()
    return Plan(cfg, Path(args.config_file), kinds, datasets, thresholds, args.output)


def without_weights(path: str) -> Iterator[str]:
    """A line if no file is named."""
    if not path:
        yield "--weights is empty: name the file of the teacher's weights, such as model_final.pth of its training"


def refuse(lines: Iterator[str]) -> None:
    """Raises ``ConfigError`` with the lines, if there are any."""
    mistakes = list(dict.fromkeys(lines))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def wrong_data(name: str) -> Iterator[str]:
    """A line for what keeps a data set from being labelled."""
    records, lines = read(name)
    if records is not None:
        lines = list(missing_files(image_paths(records), records, (), Listing()))
    pair = "; KEY VALUE pairs stand before --datasets, or behind another option" if name.isupper() else ""
    yield from (f"{name}: {line}{pair}" for line in lines)


def main(args: argparse.Namespace) -> None:
    """One process."""
    plan = prepare(args)
    with process_group(plan.cfg.MODEL.DEVICE):
        require_same_records(plan.datasets)
        run(plan, say)


def say(line: str) -> None:
    """A line of its own."""
    print(line, flush=True)


if __name__ == "__main__":
    args = parse()
    try:
        start(main, args)
    except EXPECTED as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on with the images that are not labelled yet")
