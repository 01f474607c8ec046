#!/usr/bin/env python3
"""Writes docs/reference.md, the public Python interface, from its docstrings.

tools/write_reference.py          # writes it
tools/write_reference.py --check  # exit status 1 if it is not as it would be written
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import mtl_d2
from mtl_d2.prediction import errors, results
from mtl_d2.prediction.network import Network, load

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
HEAD = """# Reference

What `import mtl_d2` gives, and what comes of it. Written by `tools/write_reference.py` from the docstrings.
"""
CALLED = ("__call__", "sample", "outputs", "results")  # of a network, for users
RESULTS = ("Objects", "ClassMap", "DepthMap", "NormalsMap", "ImageClass")


def page() -> str:
    """The page."""
    parts = [HEAD, entry("mtl_d2.load", load), entry("mtl_d2.Network", Network)]
    parts += [entry(_called(name), getattr(Network, name), "###") for name in CALLED]
    parts.append(entry("mtl_d2.Prediction", mtl_d2.Prediction))
    parts += [entry(f"mtl_d2.prediction.results.{name}", getattr(results, name)) for name in RESULTS]
    parts.append(entry("mtl_d2.prediction.errors.PredictionError", errors.PredictionError))
    return "\n".join(parts)


def _called(name: str) -> str:
    return "network" if name == "__call__" else f"network.{name}"


def entry(name: str, of: Any, level: str = "##") -> str:
    """One heading with signature and docstring."""
    signature = "" if inspect.isclass(of) else str(inspect.signature(of)).replace("self, ", "")
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)  # annotations are texts
    text = inspect.getdoc(of) or ""
    return f"{level} `{name}`\n\n```text\n{name}{signature}\n\n{text}\n```\n"


def main() -> int:
    """Writes or checks; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not what the docstrings say: run tools/write_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
