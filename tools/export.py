#!/usr/bin/env python3
"""Writes the network of a training as a file that runs without this package: docs/export.md.

tools/export.py --run OUTPUT_DIR --output network.onnx [--ids] [--results input]
tools/export.py --run OUTPUT_DIR --output network.ts          # TorchScript; .pt2 is torch.export

The file is checked against the network on images of several sizes and kept only where it predicts the same.
docs/examples/run_onnx.py runs it with onnxruntime, NumPy and OpenCV alone.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are imported, for seconds, ends it without more

from mtl_d2.config import ConfigError
from mtl_d2.data import DataError
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.export.architectures import thresholded
from mtl_d2.export.check import Agreement
from mtl_d2.export.errors import ExportError
from mtl_d2.export.onnx_file import OPSET, require_onnx
from mtl_d2.export.run import FORMATS, Wish, export
from mtl_d2.files import WriteError
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.network import load

EXPECTED = (ExportError, PredictionError, ConfigError, DataError, CheckpointError, ForbiddenContentError, WriteError)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, metavar="OUTPUT_DIR", help="folder of the training")
    parser.add_argument("--weights", metavar="FILE", help="best, final, ema, or a file (best if there are, else final)")
    forms = ", ".join(f"{suffix} {form.name}" for suffix, form in FORMATS.items())
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=f"the file to write: {forms}")
    parser.add_argument(
        "--results",
        choices=("stored", "input"),
        default="stored",
        help="size of the results: that of the stored image, which is a second input of the graph (stored), or that of "
        "the image that the network sees (input)",
    )
    parser.add_argument("--ids", action="store_true", help="maps of class ids instead of scores of all classes")
    parser.add_argument("--opset", type=int, default=OPSET, help=f"of ONNX ({OPSET})")
    parser.add_argument(
        "--images", nargs="+", default=(), metavar="FILE", help="to check the file on (some of the run's test data)"
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    """Exports, and says what was checked."""
    wish = Wish(args.output, args.results == "stored", args.ids, args.opset)
    mistakes = list(wish.mistakes())
    if mistakes:
        raise ExportError("\n".join(mistakes))
    if args.output.suffix == ".onnx":
        require_onnx()
    network = load(args.run, args.weights, device="cpu")
    agreement = export(network, wish, args.images)
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, {FORMATS[args.output.suffix].name}, tasks {', '.join(network.tasks)}")
    print(said(agreement, bool(thresholded(network.model))))


def said(agreement: Agreement, detects: bool) -> str:
    """What the check saw, in words."""
    objects = f"the same {agreement.objects} objects, none on {agreement.empty} of the images; " if detects else ""
    return f"checked on {agreement.images} images, padded and not: {objects}all else the same to 1e-3"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(parse())
    except EXPECTED as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(130)
