"""A reader is known by its code, its own helpers and what they are given, or it is not known and its records count."""

import functools
import importlib
import sys
from pathlib import Path
from types import FunctionType

import pytest

from mtl_d2.data.reader_identity import identity

LIMIT = 1


def limited():
    return [LIMIT]


def through_a_helper():
    return limited()


def with_closure(number):
    return lambda: number


def asks_the_environment():
    import os

    return os.environ.get("LIMIT")


class Reader:
    def __call__(self):
        return []

    def read(self):
        return []


@pytest.mark.parametrize("reader", [limited, through_a_helper, functools.partial(with_closure, 1)], ids=range(3))
def test_values_of_global_variables_count_wherever_a_reader_comes_to_them(reader, monkeypatch):
    before = identity(reader)
    assert before is not None
    assert before == identity(reader)
    monkeypatch.setitem(globals(), "LIMIT", 2)
    assert (identity(reader) == before) == isinstance(reader, functools.partial)


def test_what_a_reader_is_given_counts():
    assert identity(with_closure(1)) == identity(with_closure(1)) != identity(with_closure(2))
    assert identity(functools.partial(limited, Path("a"))) != identity(functools.partial(limited, Path("b")))


def in_a_notebook():
    return FunctionType(limited.__code__.replace(co_filename="/tmp/ipykernel_1/2.py"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "reader",
    [Reader(), Reader().read, asks_the_environment, in_a_notebook(), with_closure(object())],
    ids=["object", "method", "environment", "notebook", "closure"],
)
def test_what_may_depend_on_anything_is_not_known(reader):
    assert identity(reader) is None


@pytest.mark.parametrize("statement", ["from own_reader_helper import number", "import own_reader_helper"])
@pytest.mark.parametrize("within", [False, True])
def test_own_helpers_count_by_their_code_whatever_version_a_package_has(tmp_path, monkeypatch, statement, within):
    call = "number()" if statement.startswith("from") else "own_reader_helper.number()"
    top, inner = ("", f"    {statement}\n") if within else (f"{statement}\n", "")
    (tmp_path / "own_reader.py").write_text(f"__version__ = '1'\n{top}def read():\n{inner}    return [{call}]\n")
    (tmp_path / "own_reader_helper.py").write_text("def number():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        reader = importlib.import_module("own_reader").read
        reader()
        before = identity(reader)
        assert before is not None
        for name in ("own_reader_helper.py", "own_reader.py"):
            path = tmp_path / name
            path.write_text(path.read_text().replace("return", "return "))
            assert identity(reader) != before
            before = identity(reader)
    finally:
        for name in ("own_reader", "own_reader_helper"):
            sys.modules.pop(name, None)
