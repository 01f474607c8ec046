"""How many processes a run has, before they talk to each other as well."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch.distributed as dist
from detectron2.utils import comm

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def started_by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, or what sets the same variables, has started this process as one of a group."""
    return all(name in environment for name in _TORCHRUN)


def number_of_processes() -> int:
    """Those of the group that is initialized, or else those that torchrun started."""
    if not dist.is_initialized() and started_by_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return comm.get_world_size()
