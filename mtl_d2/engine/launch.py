"""Several processes: detectron2's way, which starts them, and torchrun's, which has started them."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from mtl_d2.config import ConfigError
from mtl_d2.processes import started_by_torchrun


def start(main: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> None:
    """Runs ``main(args)`` in as many processes as ``args`` ask for, or in this one if torchrun started it.

    Args:
        main: runs one process; it enters ``process_group`` before anything that talks to the others.
        args: detectron2's.

    Raises:
        ConfigError: the arguments contradict torchrun, or ask for more GPUs than there are.
    """
    problem = _problem(args, started_by_torchrun(), torch.cuda.device_count())
    if problem:
        raise ConfigError(problem)
    if started_by_torchrun():
        main(args)
        return
    with _signals_passed_on() if args.num_gpus * args.num_machines > 1 else nullcontext():
        launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))


def _problem(args: argparse.Namespace, torchrun: bool, gpus: int) -> str:
    if args.num_gpus < 1 or args.num_machines < 1:
        return f"--num-gpus and --num-machines must be at least 1, got {args.num_gpus} and {args.num_machines}"
    if torchrun and (args.num_gpus, args.num_machines, args.machine_rank) != (1, 1, 0):
        return (
            "torchrun has started the processes already: leave out --num-gpus, --num-machines and --machine-rank, or "
            "give the command without torchrun"
        )
    if not torchrun and args.num_gpus * args.num_machines > 1 and args.num_gpus > gpus:
        return (
            f"--num-gpus must be at most the number of GPUs of this machine, {gpus}; got {args.num_gpus}. "
            "Several processes on CPUs: torchrun --nproc-per-node N, the tool and its arguments, MODEL.DEVICE cpu"
        )
    return ""


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Joins the other processes that torchrun started; with detectron2's ``launch``, or alone, nothing is left to do.

    Args:
        device: ``MODEL.DEVICE``; "cpu" talks by gloo, "cuda" by NCCL, each process on the GPU of its local rank.

    Raises:
        ConfigError: the machine has fewer GPUs than torchrun started processes on it.
    """
    if dist.is_initialized() or not started_by_torchrun():
        if dist.is_initialized() and dist.get_backend() == "nccl" and not device.startswith("cuda"):
            raise ConfigError(f"--num-gpus N is for GPUs, but MODEL.DEVICE is {device!r}: use torchrun instead")
        yield
        return
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    on_gpu = device.startswith("cuda")
    if on_gpu and local_size > torch.cuda.device_count():
        raise ConfigError(
            f"torchrun's --nproc-per-node must be at most the number of GPUs of the machine, "
            f"{torch.cuda.device_count()}, got {local_size}; on CPUs set MODEL.DEVICE cpu"
        )
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    _create_local_group(local_size)
    comm.synchronize()
    yield
    leave_groups()  # after an error it could wait for processes that are gone


def leave_groups() -> None:
    """Ends the groups and their threads, as long as Python is there.

    A group lives as long as anything refers to it, which detectron2 does. A thread of gloo's that still has a tensor to
    give back when Python ends would abort the process.
    """
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    dist.destroy_process_group()


def _create_local_group(size: int) -> None:
    """The group of the processes of one machine, which detectron2's ``launch`` would have made."""
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(size)
        return
    for first in range(0, dist.get_world_size(), size):  # 0.6: every process makes every group, and keeps its own
        group = dist.new_group(list(range(first, first + size)))
        if first <= dist.get_rank() < first + size:
            comm._LOCAL_PROCESS_GROUP = group


@contextmanager
def _signals_passed_on() -> Iterator[None]:
    """While this process waits for those that it started, they get the signals that ask for an end.

    A Ctrl-C reaches all processes of a terminal by itself; it is passed on as SIGTERM, which may come twice.
    """

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            child.terminate()

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in previous:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
