#!/usr/bin/env bash
# torch 2.11.0 with timm 1.0.31: torch.nn.SyncBatchNorm.convert_sync_batchnorm, called on a network of timm's as torch's
# documentation shows it, changes what the network computes, without a warning. In many of timm's networks the batch norm
# module holds the activation that follows it (timm.layers.BatchNormAct2d, a subclass of BatchNorm2d); torch puts a bare
# SyncBatchNorm in its place. All 33 ReLU6 of EfficientNet-Lite0 are still to be seen in the printed network, as
# children of norms that never call them. ResNet-18, whose activations are modules of their own, is converted right;
# timm's own timm.layers.convert_sync_batchnorm is right for both.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 torchvision==0.26.0 timm==1.0.31
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import copy
import sys

import timm
import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn

KINDS = (nn.ReLU, nn.ReLU6)
CONVERTERS = {"torch": nn.SyncBatchNorm.convert_sync_batchnorm, "timm": convert_sync_batchnorm}
EXPECTED = {
    "efficientnet_lite0": {"in norms": 33, "torch": (33, False), "timm": (33, True)},
    "resnet18": {"in norms": 0, "torch": (17, True), "timm": (17, True)},
}


def activations(model):
    return sum(isinstance(module, KINDS) for module in model.modules())


def look_at(name):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    held = [m for m in model.modules() if isinstance(m, BatchNormAct2d) and isinstance(m.act, KINDS)]
    image = torch.randn(1, 3, 64, 64)
    seen = {"in norms": len(held)}
    with torch.no_grad():
        before = model(image)
        for whose, convert in CONVERTERS.items():
            converted = convert(copy.deepcopy(model)).eval()
            seen[whose] = activations(converted), torch.allclose(converted(image), before, rtol=1e-4, atol=1e-5)
    return seen


print(f"torch {torch.__version__}, timm {timm.__version__}")
seen = {name: look_at(name) for name in EXPECTED}
for name, what in seen.items():
    print(f"{name}: {what['in norms']} activations in norms; (activations, same output) after torch's conversion "
          f"{what['torch']}, after timm's {what['timm']}")
sys.exit(0 if seen == EXPECTED else "this is not what it was")
PYTHON
