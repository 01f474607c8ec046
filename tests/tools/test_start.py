"""How soon a mistake in a config is said: nothing is imported before that is not needed to find it."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
LATER = ("matplotlib", "pandas", "timm", "scipy.optimize", "scipy.ndimage")
PROGRAM = """
import gc, sys
sys.path.insert(0, {tools!r})
import train_net
print(gc.isenabled(), gc.get_freeze_count() > 0)
try:
    train_net.prepare(train_net.parse(["--config-file", "nowhere.yaml"]))
except train_net.ConfigError as error:
    print(error)
print([name for name in {later} if name in sys.modules])
"""


def test_a_mistake_is_said_before_charts_and_trunks_are_imported():
    program = PROGRAM.format(tools=str(TOOLS), later=LATER)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    collects, said, imported = done.stdout.splitlines()
    assert collects == "True True"
    assert "nowhere.yaml" in said
    assert imported == "[]"
