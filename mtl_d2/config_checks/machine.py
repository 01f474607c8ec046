"""What a config asks of the machine: its device, the file of weights, the folder for what the run leaves."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from mtl_d2.modeling.backbone.packaged import PackagedWeightsError
from mtl_d2.processes import number_of_processes

LONGEST_NAME = 255  # bytes, on all common file systems


def check_device(cfg: CfgNode) -> Iterator[str]:
    """Whether ``MODEL.DEVICE`` is there, by the build of torch and what it sees."""
    name = cfg.MODEL.DEVICE
    try:
        device = torch.device(name)
    except RuntimeError:
        yield f"MODEL.DEVICE is {name!r}, which is no device of torch's: set it to 'cuda', 'cuda:0' or 'cpu'"
        return
    if device.type == "cuda":
        yield from _check_cuda(name, device.index)
        return
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # as the backend has it
        yield f"MODEL.DEVICE {name!r} cannot be used ({_first_line(error)}): set it to 'cpu' or 'cuda'"


def _check_cuda(name: str, index: int | None) -> Iterator[str]:
    build = torch.version.cuda or torch.version.hip
    if not torch.cuda.is_available():
        why = (
            f"torch {torch.__version__} is built for {build}, but sees no GPU: check nvidia-smi, the driver and "
            "CUDA_VISIBLE_DEVICES,"
            if build
            else f"torch {torch.__version__} is built without GPU support: install a build with it,"
        )
        yield f"MODEL.DEVICE is {name!r}: {why} or set it to 'cpu'"
    elif index is not None and index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        yield f"MODEL.DEVICE is {name!r}, but torch sees {last + 1} GPUs: set it to one of 'cuda:0' to 'cuda:{last}'"
    elif index is not None and number_of_processes() > 1:
        yield f"MODEL.DEVICE {name!r} would put all processes on one GPU: set it to 'cuda', each then takes its own"


def check_output(cfg: CfgNode) -> Iterator[str]:
    """Whether files can be written in ``OUTPUT_DIR``, or where it is to be made."""
    if not cfg.OUTPUT_DIR:
        yield "OUTPUT_DIR is empty; name the folder for checkpoints, logs and report"
        return
    folder = Path(cfg.OUTPUT_DIR)
    why = _no_path(cfg.OUTPUT_DIR)
    if why:
        yield f"OUTPUT_DIR is {cfg.OUTPUT_DIR!r}, {why}: write the path of a folder on this machine"
        return
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        what = f"OUTPUT_DIR {folder}" if existing == folder else f"OUTPUT_DIR {folder}: {existing}"
        yield f"{what} is no folder: name another, or move the file away"
        return
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield f"OUTPUT_DIR {folder}: no file can be written in {existing} ({error.strerror}): name another folder"


def _no_path(text: str) -> str:
    """What of a text would become a folder of an unexpected name."""
    if "://" in text:
        return "an address, and files are written to folders only"
    if text.startswith("~"):
        return "in which nobody replaces the ~"
    if text != text.strip():
        return "which begins or ends with a space"
    longest = max(Path(text).parts, key=len, default="")
    return f"in which a name has {len(longest)} characters" if len(os.fsencode(longest)) > LONGEST_NAME else ""


def check_weights(cfg: CfgNode, evaluate: bool = False, resume: bool = False) -> Iterator[str]:
    """Whether there are weights to begin with, or to evaluate. Those at an address are fetched, for torch's cache.

    Args:
        cfg: ``MODEL.WEIGHTS`` and ``OUTPUT_DIR``.
        evaluate: whether the run only evaluates.
        resume: whether a checkpoint in ``OUTPUT_DIR`` takes their place.
    """
    path, folder = cfg.MODEL.WEIGHTS, Path(cfg.OUTPUT_DIR)
    checkpoints = sorted(folder.glob("*.pth")) if not _no_path(cfg.OUTPUT_DIR) and folder.is_dir() else []
    if evaluate and not cfg.DATASETS.TEST:
        yield "--eval-only has nothing to evaluate on: DATASETS.TEST is empty"
    if resume and checkpoints:
        return
    if evaluate and not path:
        example = folder / "model_final.pth"
        where = str(example) if example in checkpoints else "a file of this model's weights"
        yield (
            f"--eval-only has no weights to evaluate: --resume found no checkpoint in OUTPUT_DIR {folder}; name the "
            "folder of the run, or set MODEL.WEIGHTS to a file of this model's weights"
            if resume
            else f"--eval-only would evaluate a random network: add --resume for the newest checkpoint in OUTPUT_DIR "
            f"{folder}, or set MODEL.WEIGHTS to {where}"
        )
    elif path:
        yield from _check_remote(path) if "://" in path else _check_local(Path(path))


def _check_local(path: Path) -> Iterator[str]:
    if path.is_file():
        return
    if path.is_dir():
        yield f"MODEL.WEIGHTS {path} is a folder: name the file in it{_such_as(sorted(path.glob('*.pth')))}"
    elif not path.parent.is_dir():
        yield f"MODEL.WEIGHTS {path} is not there, nor is the folder {path.parent}: correct the path"
    else:
        names = [file.name for file in sorted(path.parent.iterdir()) if file.is_file()]
        close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.4)
        yield f"MODEL.WEIGHTS {path} is not there: correct the path{_such_as([path.parent / name for name in close])}"


def _such_as(paths: list[Path]) -> str:
    return f", such as {', '.join(map(str, paths[:3]))}" if paths else ""


def _check_remote(address: str) -> Iterator[str]:
    try:
        if not os.path.isfile(PathManager.get_local_path(address)):
            raise ValueError(f"nothing reads addresses that begin with {address.partition('//')[0]}//")
    except PackagedWeightsError as error:
        yield f"MODEL.WEIGHTS {error}"
    except Exception as error:  # noqa: BLE001  # every kind of address has its own way of failing
        yield (
            f"MODEL.WEIGHTS {address} cannot be fetched ({_first_line(error)}): correct the address, or download it by "
            "hand where there is a network and give MODEL.WEIGHTS the path of the file"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
