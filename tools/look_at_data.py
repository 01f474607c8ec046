#!/usr/bin/env python3
"""Looks at the data of a config as its training would get them, and writes a page: docs/looking_at_data.md.

tools/look_at_data.py --config-file FILE [--output DIR] [--samples N] [--statistics N] [--updates N] [KEY VALUE ...]

The page is DIR/data.html, with pictures in DIR/pictures. Ctrl-C leaves a page of what was seen until then. The exit
status is 1 where a training would not begin with these data, 0 otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are imported, for seconds, ends it without more

from detectron2.config import get_cfg

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.config_checks.machine import check_output
from mtl_d2.data import DataError, register_all
from mtl_d2.files import refusal
from mtl_d2.inspection import Findings, Limits, look_at_data
from mtl_d2.inspection.look import PAGE


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    usual = Limits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of a training")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the page (OUTPUT_DIR/data)")
    for name, meaning in (
        ("samples", "samples of each data set that are drawn"),
        ("statistics", "samples of each data set that numbers are taken of, at most"),
        ("updates", "updates whose samples are drawn, to count how tasks come together"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} ({default})")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values")
    return parser.parse_intermixed_args(arguments)


def prepare(args: argparse.Namespace) -> tuple[object, Path]:
    """The config, checked, with its data sets registered; and the folder of the page.

    Raises:
        ConfigError: one line for each mistake in the arguments or the config.
    """
    for name in ("samples", "statistics", "updates"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1, got {getattr(args, name)}")
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, args.config_file, args.opts, allow_unsafe=True)
    check_mtl_config(cfg)
    folder = args.output or Path(cfg.OUTPUT_DIR, "data")
    place = cfg.clone()
    place.OUTPUT_DIR = str(folder)
    mistakes = [line.replace("OUTPUT_DIR", "--output") for line in check_output(place)]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    cfg.freeze()
    return cfg, folder


def main(args: argparse.Namespace) -> int:
    """Writes the page, and says what is suspicious."""
    cfg, folder = prepare(args)
    limits = Limits(args.samples, args.statistics, args.updates)
    findings = look_at_data(cfg, folder, limits, f"Data of {Path(args.config_file).name}")
    tell(findings)
    print(folder / PAGE)
    return 130 if findings.stopped else 1 if findings.refused else 0


def tell(findings: Findings) -> None:
    """What the page says at its top, but for what is only worth knowing."""
    for what, lines in (
        ("a training would not begin", findings.refused),
        ("suspicious", findings.all_suspicious()),
        ("a training would warn of", findings.warned),
    ):
        for line in lines:
            print(f"{what}: {line}")
    if findings.stopped:
        print("stopped: the page has what was seen until then")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    args = parse()
    try:
        sys.exit(main(args))
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {refusal(error) or error}")
    except KeyboardInterrupt:
        sys.exit("stopped before anything was seen")
