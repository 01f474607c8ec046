#!/usr/bin/env bash
# torchvision 0.26.0 with torch 2.11.0: whether batched_nms keeps a box depends on how many boxes there are elsewhere. One
# would guess that it is nms within each class, for it says that it performs NMS on each class. Up to 1,000 boxes on a CPU
# (25,000 on a GPU) it moves the boxes of class k by k times the largest coordinate plus 1, and runs one nms over all; with one
# more it goes through the classes. In float32 the first of these rounds: of class 1202, the last of LVIS, in an image of
# 1333 x 800, corners move to multiples of 1/8 pixel, so that the IoU of small boxes is another. Among 500 pairs of an object
# of 4 to 24 pixels and its copy, one box of score 0 in an empty corner changes which others stay: 6 of 2,000 for class 1202,
# 2 for class 364, the last of Objects365, none for class 0. detectron2's detectors go this way. Boxes in float64 are not
# rounded so.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 torchvision==0.26.0 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
import torchvision
from torchvision.ops import batched_nms, nms

WIDTH, HEIGHT = 1332, 800
THRESHOLD = 0.5
CLASSES = (0, 364, 1202)  # the first one, and the last ones of Objects365 and of LVIS
CORNER = torch.tensor([[WIDTH - 20.0, HEIGHT - 20.0, WIDTH - 1.0, HEIGHT - 1.0]])


def pairs(size, generator):
    """(1000, 4) boxes of 500 objects about ``size`` pixels large, and of a copy of each, away from the corner."""
    middles = torch.rand(500, 2, generator=generator) * torch.tensor([WIDTH - 80.0, HEIGHT - 80.0]) + 30
    halves = size * (0.25 + torch.rand(500, 2, generator=generator) / 2)
    objects = torch.cat([middles - halves, middles + halves], 1)
    return torch.cat([objects, objects + torch.randn(500, 4, generator=generator) * size * 0.12])


def kept(boxes, scores, category):
    return set(batched_nms(boxes, scores, torch.full((len(boxes),), category), THRESHOLD).tolist())


print(f"torchvision {torchvision.__version__}, torch {torch.__version__}")
seen = {}
for category in CLASSES:
    generator = torch.Generator().manual_seed(0)
    changed = 0
    for size in (8, 16):
        boxes, scores = pairs(size, generator), torch.rand(1000, generator=generator)
        alone = kept(boxes, scores, category)
        among_more = kept(torch.cat([boxes, CORNER]), torch.cat([scores, torch.zeros(1)]), category) - {1000}
        plain = set(nms(boxes, scores, THRESHOLD).tolist())
        assert among_more == plain and kept(boxes.double(), scores.double(), category) == plain
        changed += len(alone ^ among_more)
    seen[category] = changed
    print(f"class {category}: a box in the corner changes whether {changed} of 2000 others stay")
sys.exit(0 if seen[0] == 0 and seen[364] > 0 and seen[1202] > 0 else "this is not what it was")
PYTHON
