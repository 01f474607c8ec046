#!/usr/bin/env python3
"""Writes the tables of options in the documents, as the code declares them.

tools/write_option_tables.py [--check]

``docs/methods.md`` gets those of the methods, after its heading "Options"; ``docs/options.md`` those of all else that
declares options (``mtl_d2.options.declare``), if anything does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import get_cfg

import mtl_d2.modeling  # noqa: F401  # what it registers declares options
from mtl_d2.config import METHODS, add_mtl_config
from mtl_d2.options import Option, declared, table

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN = "<!-- made by tools/write_option_tables.py -->"
OTHERS = """# Options

The keys below `MODEL` and `MTL` that kinds of tasks, heads, trunks and models declare; those of the methods are in
[methods.md](methods.md).
"""


def method_tables() -> str:
    """One table for each choice of an update: the options of its methods that are loaded, by method and key."""
    choices: dict[str, dict[str, Option]] = {}
    for choice, registry in METHODS:
        rows = choices.setdefault(choice, {})
        for name, method in sorted(registry):
            rows |= {f"{name.upper()}.{key.upper()}": option for key, option in method.options.items()}
    return "\n\n".join(f"### `MTL.{choice}`\n\n{table(rows)}" for choice, rows in choices.items() if rows)


def other_tables() -> str:
    """One table for each node of the config."""
    return "\n\n".join(f"## `{node}`\n\n{table(options)}" for node, options in declared())


def texts() -> dict[Path, str]:
    """What the documents are to be, by their paths."""
    add_mtl_config(get_cfg())  # loads all that declares options
    methods = DOCS / "methods.md"
    before, mark, _ = methods.read_text(encoding="utf-8").partition(BEGIN)
    assert mark, f"{methods} has no line {BEGIN}"
    found = {methods: f"{before}{BEGIN}\n\n{method_tables()}\n"}
    if others := other_tables():
        found[DOCS / "options.md"] = f"{OTHERS}\n{BEGIN}\n\n{others}\n"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the documents, or says which are old; 1 if one is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and say which documents are old")
    check = parser.parse_args(arguments).check
    new = texts()
    old = [path for path, text in new.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if not check:
            path.write_text(new[path], encoding="utf-8")
        print(f"{path} is old: run tools/write_option_tables.py" if check else f"wrote {path}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
