#!/usr/bin/env bash
# cityscapesscripts 2.3.0: caravans and trailers are labels that its evaluation is said to ignore (ignoreInEval), but a
# "car" predicted on one is counted as a false object. Pixels are ignored where instanceIds.png holds the label's id,
# and single caravans are 29000, 29001, ... there, as in Cityscapes' own files. The same region as 29 is ignored.
#
# Exit status 0: as described. Needs python3 (3.9 to 3.12) and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q "cityscapesscripts==2.3.0" "numpy==1.26.4" "pillow==10.4.0"
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import contextlib, io, os, sys
import numpy as np
from PIL import Image
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official
from cityscapesscripts.helpers.labels import name2label

official.writeDict2JSON = lambda *_: None  # only writes caches and fails on numpy's integers
caravan, car = name2label["caravan"], name2label["car"]
print("caravan: ignoreInEval =", caravan.ignoreInEval, ", hasInstances =", caravan.hasInstances)


def ap_of_car(caravan_id):
    """AP of cars where both a car and, with a higher score, the caravan beside it are said to be cars."""
    folder = f"predictions_{caravan_id}"
    os.makedirs(folder)
    truth = np.full((60, 120), name2label["road"].id, np.uint16)
    truth[10:30, 10:40] = 1000 * car.id
    truth[10:50, 60:110] = caravan_id
    name = f"{folder}/a_000000_000019_gtFine_instanceIds.png"
    Image.fromarray(truth).save(name)
    for i, value in enumerate([1000 * car.id, caravan_id]):
        Image.fromarray((truth == value).astype(np.uint8) * 255).save(f"{folder}/{i}.png")
    with open(f"{folder}/a.txt", "w") as file:
        file.write(f"0.png {car.id} 0.5\n1.png {car.id} 0.9\n")
    options = official.args
    options.JSONOutput, options.predictionPath = False, os.path.abspath(folder)
    options.gtInstancesFile = os.path.abspath(f"{folder}/none.json")
    with contextlib.redirect_stdout(io.StringIO()):
        found = official.evaluateImgLists([f"{folder}/a.txt"], [name], options)
    return 100 * float(found["averages"]["classes"]["car"]["ap"])


one, region = ap_of_car(1000 * caravan.id), ap_of_car(caravan.id)
print(f"AP of car: {one:.1f} where the caravan's pixels are {1000 * caravan.id}, {region:.1f} where they are {caravan.id}")
sys.exit(0 if abs(one - 25) < 1e-6 and abs(region - 100) < 1e-6 else 1)
PYTHON
