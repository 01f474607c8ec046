#!/usr/bin/env python3
"""Writes the tables of options in the documents, as the code declares them.

tools/write_option_tables.py

``docs/methods.md`` gets those of the methods, after its heading "Options"; ``docs/options.md`` those of all else that
declares options (``mtl_d2.options.declare``), if anything does.
"""

from __future__ import annotations

from pathlib import Path

import mtl_d2.modeling  # noqa: F401  # what it registers declares options
from mtl_d2.balancing import load_methods
from mtl_d2.config import METHODS, add_mtl_config  # noqa: F401  # likewise
from mtl_d2.options import Option, declared, table

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN = "<!-- made by tools/write_option_tables.py -->"
OTHERS = """# Options

The keys below `MODEL` and `MTL` that kinds of tasks, heads, trunks and models declare; those of the methods are in
[methods.md](methods.md).
"""


def method_tables() -> str:
    """One table for each choice of an update: the options of its methods, by method and key."""
    load_methods()
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
    methods = DOCS / "methods.md"
    before, mark, _ = methods.read_text(encoding="utf-8").partition(BEGIN)
    assert mark, f"{methods} has no line {BEGIN}"
    found = {methods: f"{before}{BEGIN}\n\n{method_tables()}\n"}
    if others := other_tables():
        found[DOCS / "options.md"] = f"{OTHERS}\n{BEGIN}\n\n{others}\n"
    return found


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
