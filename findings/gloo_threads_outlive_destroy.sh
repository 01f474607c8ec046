#!/usr/bin/env bash
# torch 2.11.0: torch.distributed.destroy_process_group() does not end a gloo group while anything still refers to it.
# The group is "not initialized" afterwards, but its threads (two for each group, "pt_gloo_runloop") go on until the last
# reference goes: one in a variable, or in a cache such as functools.lru_cache, by which libraries keep the group that they
# gather objects with. They are then at work while Python comes to its end, although the program has cleaned up as the
# documentation says. With the reference gone the threads are, too.
#
# Exit status 0: as described. Needs Linux, python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import functools
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist


@functools.lru_cache
def group_of_all():
    return dist.group.WORLD


def threads():
    names = (path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    return sum(name == "pt_gloo_runloop" for name in names)


def lives(keep):
    dist.init_process_group("gloo", init_method=f"file://{Path(f'store_{keep}').absolute()}", rank=0, world_size=1)
    if keep:
        group_of_all()
    dist.barrier()
    end = time.monotonic() + 60
    while threads() < 2 and time.monotonic() < end:
        time.sleep(0.1)  # until the threads have their names
    inside = threads()
    dist.destroy_process_group()
    destroyed = threads()
    group_of_all.cache_clear()
    return inside, destroyed, threads()


seen = {"in a cache": lives(True), "nowhere": lives(False)}
print(f"torch {torch.__version__}: gloo's threads inside, after destroy_process_group, after the reference is gone")
for where, counts in seen.items():
    print(f"group referred to {where}: {counts}")
sys.exit(0 if seen == {"in a cache": (2, 2, 0), "nowhere": (2, 0, 0)} else "this is not what it was")
PYTHON
