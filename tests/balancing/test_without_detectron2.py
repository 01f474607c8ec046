"""The mathematics of the update stands alone: it takes torch, and a model that follows the protocol."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UPDATE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("detectron2", "cv2", "pycocotools"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, "tests/balancing")
import torch
from toy import balancer, batch, mclgs, stage, toy
from mtl_d2.balancing import Oracle
import mtl_d2.parallel.all_ranks, mtl_d2.parallel.replicas

model = toy(2)
oracle = Oracle(model)
oracle.load(batch(("detection", "semantic"), ("semantic",)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print(balancer(2, stage(2, "mean", mclgs(2)))(oracle, 0, optimizer.step).present.tolist())
assert "detectron2" not in sys.modules
"""


def test_an_update_is_made_where_detectron2_is_not_installed():
    done = subprocess.run([sys.executable, "-c", UPDATE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[True, True]", done.stderr
