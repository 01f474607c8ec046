#!/usr/bin/env bash
# timm 1.0.29 and 1.0.30 with torch 2.11.0: a network is often built below torch.device("meta") to learn its shapes
# without its memory. timm sets its transformers up for that, yet up to 1.0.29 a RegNet, one of the plainest convolutional
# networks, raises NotImplementedError there (aten::_unique2 has no kernel for meta tensors), since it works out its
# widths in tensors, on whatever device is the default; 1.0.30 does so on the CPU. ResNets and vision transformers are
# built by both. What asks for such a build needs timm>=1.0.30.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.11.0 torchvision==0.26.0 timm==1.0.29
"$work/venv/bin/python" -m pip install -q --no-deps --target "$work/1.0.30" timm==1.0.30
cd "$work"
cat >look.py <<'PYTHON'
import sys

import timm
import torch

NAMES = ("resnet18", "vit_tiny_patch16_224", "regnetx_002")


def built(name):
    try:
        with torch.device("meta"):
            timm.create_model(name)
    except NotImplementedError as error:
        return str(error).split(":")[2].split()[0]
    return "built"


seen = {name: built(name) for name in NAMES}
print(f"torch {torch.__version__}, timm {timm.__version__}: {seen}")
expected = dict.fromkeys(NAMES, "built")
if timm.__version__ == "1.0.29":
    expected["regnetx_002"] = "_unique2"
sys.exit(0 if seen == expected else "this is not what it was")
PYTHON
"$work/venv/bin/python" look.py
PYTHONPATH="$work/1.0.30" "$work/venv/bin/python" look.py
