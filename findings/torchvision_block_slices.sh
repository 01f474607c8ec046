#!/usr/bin/env bash
# torchvision 0.26.0 with torch 2.11.0: its building blocks are nn.Sequential, are printed and indexed as such, and cannot be
# sliced as such. block[1:], "all but the convolution", builds the block's own class anew from the layers that are left,
# as nn.Sequential.__getitem__ does for every subclass, and that class takes numbers of channels: Conv2dNormActivation and
# MLP raise a TypeError about a missing argument. The same slice of an EfficientNet's `features`,
# a plain nn.Sequential of such blocks, works. nn.Sequential(*list(block)[1:]) works for both.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 torchvision==0.26.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
import torchvision
from torch import nn
from torchvision.models import efficientnet_v2_s
from torchvision.ops import MLP, Conv2dNormActivation

BLOCKS = {
    "Conv2dNormActivation": Conv2dNormActivation(3, 8),
    "MLP": MLP(3, [8, 8]),
    "features of EfficientNetV2-S": efficientnet_v2_s().features,
}
EXPECTED = {"Conv2dNormActivation": "TypeError", "MLP": "TypeError", "features of EfficientNetV2-S": "Sequential"}


def sliced(block):
    assert isinstance(block, nn.Sequential)
    assert isinstance(block[0], nn.Module)
    try:
        return type(block[1:]).__name__
    except TypeError as error:
        print(f"  {error}")
        return "TypeError"


print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
seen = {name: sliced(block) for name, block in BLOCKS.items()}
for name, what in seen.items():
    print(f"{name}[1:]: {what}")
sys.exit(0 if seen == EXPECTED else "this is not what it was")
PYTHON
