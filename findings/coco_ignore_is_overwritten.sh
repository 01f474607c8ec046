#!/bin/bash
# pycocotools 2.0.11: an annotation's `ignore: 1`, which its code reads, has no effect on the evaluation.
# COCOeval._prepare sets gt["ignore"] from the file and in the next line overwrites it by gt["iscrowd"]. Here one of two
# objects is marked `ignore` and not detected: AP is 0.50 as without the mark; marked `iscrowd` it is 1.00.
# Exits with 1 if that changes. Needs python3 (3.10 to 3.13) and pip; writes only below a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 pycocotools==2.0.11
cat > "$folder/look.py" <<'PY'
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def ap(**mark):
    objects = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 10, 40, 40], "area": 1600, "iscrowd": 0, **mark},
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": 1, "width": 200, "height": 100}],
            "annotations": objects,
            "categories": [{"id": 1, "name": "thing"}],
        }
        truth.createIndex()
        found = truth.loadRes([{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9}])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


plain, ignored, crowd = ap(), ap(ignore=1), ap(iscrowd=1)
print(f"AP, one of two objects found; the other is unmarked: {plain:.2f}, ignore 1: {ignored:.2f}, iscrowd 1: {crowd:.2f}")
sys.exit(not (abs(plain - ignored) < 1e-9 and plain < 0.6 and crowd > 0.99))
PY
"$folder/venv/bin/python" "$folder/look.py"
