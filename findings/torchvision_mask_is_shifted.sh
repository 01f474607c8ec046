#!/usr/bin/env bash
# torchvision 0.26.0 with torch 2.11.0: transforms.v2 moves a Mask to another place than the image and the boxes it belongs to.
# One would guess that Resize keeps the three together, which is what v2 is for. It resizes masks with torch's mode "nearest",
# which takes the first pixel of a cell where an image's value comes from its middle, so that objects move right and down by
# (1 - scale) / 2 pixels of the small image. Resize(interpolation=NEAREST_EXACT) is for images alone. A disc 64 pixels wide has
# an IoU of 0.82 with itself in the image at a scale of 1/8, and of 0.66 at 1/16. Enlarging by a whole factor moves nothing.
# Pillow's nearest, which detectron2 resizes label maps with, keeps within about half a pixel of the large image.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 torchvision==0.26.0 numpy pillow
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import BoundingBoxes, Mask
from torchvision.tv_tensors import Image as TensorImage

SIDE, RADIUS = 512, 32


def disc(row, column):
    rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    return (rows - row) ** 2 + (columns - column) ** 2 < RADIUS**2


def middle(mask):
    """Column of its middle, in pixels."""
    return float((mask.double().sum(0) * (torch.arange(mask.shape[1]) + 0.5)).sum() / mask.sum())


print(f"torchvision {torchvision.__version__}, torch {torch.__version__}")
generator = torch.Generator().manual_seed(0)
expected = True
for side in (1024, 256, 128, 64, 32):
    shifts, ious, box_shifts, pillow_shifts, exact_shifts = [], [], [], [], []
    for row, column in (torch.rand(50, 2, generator=generator) * (SIDE - 4 * RADIUS) + 2 * RADIUS).tolist():
        whole = disc(row, column)
        image, mask = TensorImage(whole[None].float().expand(3, -1, -1) * 255), Mask(whole[None].byte())
        corners = [column - RADIUS, row - RADIUS, column + RADIUS, row + RADIUS]
        box = BoundingBoxes([corners], format="XYXY", canvas_size=(SIDE, SIDE))
        small, small_mask, small_box = v2.Resize((side, side), antialias=True)(image, mask, box)
        scale, seen, labelled = side / SIDE, small[0] > 127.5, small_mask[0] > 0
        true = middle(whole) * scale
        shifts.append(middle(labelled) - true)
        box_shifts.append(float(small_box[0, [0, 2]].mean()) - column * scale)
        exact = v2.Resize((side, side), interpolation=InterpolationMode.NEAREST_EXACT)(mask)
        exact_shifts.append(middle(exact[0] > 0) - true)
        of_pillow = Image.fromarray(whole.numpy().astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
        pillow_shifts.append(middle(torch.from_numpy(np.array(of_pillow)) > 0) - true)
        ious.append(float((seen & labelled).sum() / (seen | labelled).sum()))
    shift, iou, of_box, of_pillow, of_exact = (
        float(np.mean(v)) for v in (shifts, ious, box_shifts, pillow_shifts, exact_shifts)
    )
    print(
        f"{SIDE} -> {side}: mask {shift:+.2f} pixels, with NEAREST_EXACT {of_exact:+.2f}, box {of_box:+.2f}, "
        f"Pillow's nearest {of_pillow:+.2f}; IoU with the image's disc {iou:.2f}"
    )
    predicted = 0.5 - min(side / SIDE, 1) / 2  # from the first pixel of a cell to its middle, in pixels of the result
    expected &= abs(shift - predicted) < 0.05 and abs(of_exact - predicted) < 0.05 and abs(of_box) < 0.01
    expected &= abs(of_pillow) < min(side / SIDE, 1) / 2 + 0.05
sys.exit(0 if expected else "this is not what it was")
PYTHON
