#!/usr/bin/env bash
# torch 2.11.0: torch.utils.checkpoint.checkpoint(use_reentrant=False, context_fn=...) calls context_fn once, in the forward
# pass, and enters the second context that it gives in *every* backward pass through the block, of which there are
# several with retain_graph, as in multi-task learning. The documentation says that the contexts are of the forward pass
# and of the recomputation; with one of contextlib.contextmanager, the usual way to write them, the first backward pass
# is right and the second raises "AttributeError: '_GeneratorContextManager' object has no attribute 'args'" from
# contextlib, a message that names neither the block nor checkpoint. A class with __enter__ and __exit__ is entered twice.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def generated():
    yield


class Written:
    entered = 0

    def __enter__(self):
        Written.entered += 1

    def __exit__(self, *exception):
        pass


def outcome(context):
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    output = checkpoint(block, torch.ones(1, 4), use_reentrant=False, context_fn=lambda: (nullcontext(), context()))
    passes = 0
    try:
        for task in range(2):
            torch.autograd.grad(output[0, task], list(block.parameters()), retain_graph=True)
            passes += 1
    except AttributeError as error:
        return passes, str(error)
    return passes, ""


print(f"torch {torch.__version__}, Python {sys.version.split()[0]}")
seen = {"contextlib.contextmanager": outcome(generated), "a class": outcome(Written)}
for name, (passes, error) in seen.items():
    print(f"{name}: {passes} of 2 backward passes; {error or 'no error'}")
print(f"the class was entered {Written.entered} times")
right = seen["contextlib.contextmanager"][0] == 1 and "_GeneratorContextManager" in seen["contextlib.contextmanager"][1]
right &= seen["a class"] == (2, "") and Written.entered == 2
sys.exit(0 if right else "this is not what it was")
PYTHON
