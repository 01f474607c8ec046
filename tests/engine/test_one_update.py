"""How many files one update is read in."""

import re
import sys
from pathlib import Path

import torch
from detectron2.utils.events import EventStorage
from toy import balancer, batch, mclgs, stage, toy

from mtl_d2.data.allocation.full import Full
from mtl_d2.engine.loop import MultiTaskLoop

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("mtl_d2/modeling/", "mtl_d2/data/")  # the model's own files, and the data's
B = ("detection", "semantic")


def documented():
    """The files that the documents name, in the order of reading."""
    page = (ROOT / "docs/adding_a_method.md").read_text().split("\n## How one update reads\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. \[`(mtl_d2/[\w/]+\.py)`\]", page, flags=re.MULTILINE)


def executed(run):
    """The files of mtl_d2 with a function that ``run`` enters."""
    files = set()

    def look(frame, event, _):
        if event == "call":
            files.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(before)
    names = {str(Path(f).relative_to(ROOT)) for f in files if f.startswith(str(ROOT / "mtl_d2"))}
    return {name for name in names if not name.startswith(ELSEWHERE)}


def test_one_update_of_mclgs_runs_through_the_eight_files_that_the_documents_list():
    model, made = toy(2), balancer(2, stage(2, "mean", mclgs(2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [batch(B, B, ("detection",)), batch(B, B, ("semantic",))]
    loop = MultiTaskLoop(model, optimizer, made, lambda start: batches, Full(made.setup, 3), clip_norm=1.0)
    with EventStorage():
        loop.iter = 0
        loop.run_step()
        loop.iter = 1
        found = executed(loop.run_step)
    assert found == set(documented())
    assert len(documented()) == len(found) <= 8
