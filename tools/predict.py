#!/usr/bin/env python3
"""Predicts with a trained network, on images, folders, videos and cameras: docs/prediction.md.

tools/predict.py --run output/demo/mclgs --input street.jpg --output output/predictions
tools/predict.py --run RUN --input FOLDER --output DIR --save pictures coco png npy
tools/predict.py --run RUN --input clip.mp4 --output DIR          # DIR/clip.webm, which plays in a browser
tools/predict.py --run RUN --input 0 --output DIR                 # camera 0, until Ctrl-C

The exit status is 0 if all of the input was predicted, 1 if some of it could not be read, 2 if nothing was done, and
130 after Ctrl-C, which leaves a playable video and all predictions so far.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what goes wrong with a video is said in a line of our own
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
from mtl_d2.command_line import end_imports_quietly, run_tool

if __name__ == "__main__":
    end_imports_quietly()

from mtl_d2.config import ConfigError
from mtl_d2.data.errors import DataError
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.files import WriteError
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.layout import LAYOUTS, Artist
from mtl_d2.prediction.network import SCORE_THRESHOLD, Network, load
from mtl_d2.prediction.output_folder import COCO, FORMATS, PICTURES, OutputFolder
from mtl_d2.prediction.pipeline import Counts, predict
from mtl_d2.prediction.progress import FrameProgress
from mtl_d2.prediction.saving import DEPTH_FACTOR
from mtl_d2.prediction.sources import MANIFEST, Source, open_source
from mtl_d2.prediction.video_output import CODECS, VideoFile, check_codec

EXPECTED = (  # what a user can mend
    *(PredictionError, ConfigError, DataError, CheckpointError),
    *(ForbiddenContentError, WriteError),
)
SHOWN = 5  # lines of what could not be read


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", required=True, metavar="OUTPUT_DIR", help="folder of the training")
    add("--input", required=True, nargs="+", metavar="WHAT", help="images, folders, patterns, one video or one camera")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for pictures and predictions")
    add("--weights", metavar="WHICH", help="best, final, ema or a file (best where the run chose some, else final)")
    add("--tasks", nargs="+", metavar="TASK", help="tasks to draw and save (all)")
    add("--score-threshold", type=float, default=SCORE_THRESHOLD, help=f"of objects, at least ({SCORE_THRESHOLD})")
    add("--save", nargs="+", choices=FORMATS, default=[PICTURES, COCO], help=f"({PICTURES} {COCO})")
    add("--layout", choices=LAYOUTS, default=LAYOUTS[0], help=f"where panels such as depth stand ({LAYOUTS[0]})")
    add("--beside", action="store_true", help="show the image itself beside what is drawn over it")
    add("--no-legend", dest="legend", action="store_false", help="name the classes in legend.png alone")
    add("--colors", choices=("dataset", "safe"), default="dataset", help="safe: for eyes that take red for green")
    codecs = "; ".join(f"{name} {codec.suffix} plays {codec.plays}" for name, codec in CODECS.items())
    add("--codec", choices=tuple(CODECS), default="vp8", help=f"of videos (vp8): {codecs}")
    add("--depth-factor", type=float, default=DEPTH_FACTOR, help=f"of depth in PNGs of 16 bits ({DEPTH_FACTOR:g})")
    add("--device", help="such as cuda:0 or cpu (the run's)")
    add("--batch", type=int, default=1, help="frames that cross the network together (1)")
    add("--half", action="store_true", help="16 bits: float16 on GPUs, bfloat16 on CPUs")
    add("--workers", type=int, default=2, help="threads that read, and that draw and write (2)")
    add("--frames", type=int, metavar="N", help="stop after N frames")
    add("--overwrite", action="store_true", help="write over the predictions of an earlier run")
    return parser.parse_args(arguments)


def check(args: argparse.Namespace) -> None:
    """Raises ``PredictionError`` for numbers that cannot be, and for an output that is not to be written to."""
    for name, value in (("batch", args.batch), ("workers", args.workers), ("frames", args.frames)):
        if value is not None and value < 1:
            raise PredictionError(f"--{name} must be at least 1, got {value}")
    if not 0 <= args.score_threshold <= 1:
        raise PredictionError(f"--score-threshold must be in [0, 1], got {args.score_threshold}")
    if not 0 < args.depth_factor < math.inf:
        raise PredictionError(f"--depth-factor must be > 0 and finite, got {args.depth_factor}")
    if args.output.exists() and not args.output.is_dir():
        raise PredictionError(f"--output {args.output} is a file: name a folder")
    if (args.output / MANIFEST).is_file() and not args.overwrite:
        raise PredictionError(
            f"--output {args.output} holds predictions of an earlier run: name another folder, or add --overwrite"
        )


def choose_tasks(network: Network, given: Sequence[str] | None) -> list[str]:
    """Those that are drawn and saved, by the names of their answers."""
    unknown = [task for task in given or () if task not in network.tasks]
    if unknown:
        raise PredictionError(f"--tasks: the run has no task {unknown[0]!r}; it has {', '.join(network.tasks)}")
    return list(dict.fromkeys(network.shared[task] for task in given or network.tasks))


def prepare(args: argparse.Namespace, network: Network, source: Source) -> OutputFolder:
    """The folder of what is predicted."""
    moving = source.rate is not None
    tasks = choose_tasks(network, args.tasks)
    artist = Artist(network, tasks, args.layout, args.beside, args.legend, moving, args.colors == "safe")
    about = {
        "run": str(args.run),
        "weights": network.cfg.MODEL.WEIGHTS,
        "input": args.input,
        "tasks": tasks,
        "classes": {task: list(network.classes[task]) for task in tasks if network.classes[task]},
        "score_threshold": args.score_threshold,
        "depth_factor": args.depth_factor,
        "frames_per_second": source.rate,
    }
    video = None
    if source.rate is not None and PICTURES in args.save:
        video = VideoFile(args.output / f"{source.name}{CODECS[args.codec].suffix}", args.codec, source.rate)
    return OutputFolder(args.output, artist, args.save, about, video, args.depth_factor)


def main(args: argparse.Namespace) -> int:
    """Predicts; gives the exit status."""
    check(args)
    source = open_source(args.input, args.output)
    if source.rate is not None and PICTURES in args.save:
        check_codec(args.codec)
    network = load(args.run, args.weights, args.device, score_threshold=args.score_threshold, half=args.half)
    output = prepare(args, network, source)
    print(
        f"{args.run}: {', '.join(network.tasks)}; weights {network.cfg.MODEL.WEIGHTS} on {network.device}", flush=True
    )
    total = min(source.total, args.frames) if source.total and args.frames else source.total or args.frames
    progress = FrameProgress(source.name, total)

    def told(count: int) -> None:
        if count > progress.done:
            progress.step()

    counts = predict(network, source, output, batch=args.batch, workers=args.workers, most=args.frames, told=told)
    progress.end()
    return report(args, source, output, counts)


def report(args: argparse.Namespace, source: Source, output: OutputFolder, counts: Counts) -> int:
    """Says what came of it; gives the exit status."""
    failed = counts.failed + (source.mistakes() if not counts.stopped and args.frames is None else [])
    for line in failed[:SHOWN]:
        print(f"not predicted: {line}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"not predicted: {len(failed) - SHOWN} more, see {args.output / MANIFEST}", file=sys.stderr)
    what = output.video.path if output.video is not None and counts.frames else args.output
    print(f"{counts.frames} frames predicted: {what}", flush=True)
    if counts.stopped:
        print("stopped; what was predicted so far is there", file=sys.stderr)
        return 130
    return (1 if counts.frames else 2) if failed else 0


if __name__ == "__main__":
    arguments = parse()
    run_tool(lambda: main(arguments), EXPECTED)
