#!/usr/bin/env python3
"""The earlier name of `tools/report.py`: `python tools/make_report.py OUTPUT_DIR`."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("report.py")), run_name="__main__")
