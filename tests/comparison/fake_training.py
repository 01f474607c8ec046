"""Stands for a training in the tests: `fake_training.py CONFIG`, and a file `do` in the comparison's folder says what.

`finish` logs all updates; `fail` and `diverge` end with an error, `hang` waits and `stop` ends after the first update.
`slow` takes its time for each update, has a checkpoint after it, and ends in order on SIGTERM. A log that is there is
gone on with, as with --resume.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1]).parent
order = (folder.parents[1] / "do").read_text()
log = folder / "metrics.json"
done = len(log.read_text().splitlines()) if log.exists() else 0
variables = {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
(folder / "seen.json").write_text(json.dumps({"start": done, **variables}))
updates = int((folder.parents[1] / "updates").read_text())
asked = []
if order == "slow":
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
with log.open("a") as file:
    for i in range(done, updates):
        file.write(json.dumps({"iteration": i, "total_loss": 1.0}) + "\n")
        file.flush()
        if order == "slow":
            time.sleep(0.1)
            (folder / "last_checkpoint").write_text(f"model_{i}.pth")
            if asked:
                sys.exit(0)
        if order == "hang":
            time.sleep(60)
        if order == "fail":
            raise RuntimeError("out of luck")
        if order == "diverge":
            sys.exit("error: update 1: the loss is not finite for task a.")
        if order == "stop":
            sys.exit(0)
