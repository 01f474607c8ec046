"""What tells the reader of a data set from another one, besides the files of labels that it reads."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mtl_d2.data.file_digests import digest_of_file, plain
from mtl_d2.data.record_file import pack

_WHOLE = ("mtl_d2", "detectron2")  # packages that count by their content or version; see ``prepared``
_ENVIRONMENT = {"environ", "environb", "getenv"}  # names in os


def identity(reader: Callable[..., Any]) -> list[Any] | None:
    """Its code, that of its own helpers, and the values that they are given; None where that cannot be known.

    It cannot of objects and their methods, whose state may be anything, of what was typed into a notebook, and of what
    asks for variables of the environment.
    """
    given: list[Any] = []
    while not inspect.isfunction(reader):
        if isinstance(reader, functools.partial):
            given += [reader.args, reader.keywords]
            reader = reader.func
        elif hasattr(reader, "__wrapped__") and not inspect.ismethod(reader):
            reader = reader.__wrapped__
        else:
            return None
    given += [cell.cell_contents for cell in reader.__closure__ or ()]
    given = plain([*given, reader.__defaults__, reader.__kwdefaults__])
    reached = _Reached()
    if not _is_packed(given) or not reached.follow(reader):
        return None
    return [reader.__module__, reader.__qualname__, sorted(reached.files.items()), sorted(reached.values), given]


class _Reached:
    """What a function of one's own comes to by the names in its code.

    Attributes:
        files: digests of files of code.
        values: of variables, packed.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.values: set[bytes] = set()
        self._followed: set[int] = set()

    def follow(self, function: FunctionType) -> bool:
        """Whether all that it depends on is known."""
        if id(function) in self._followed or _is_whole(function.__module__):
            return True
        self._followed.add(id(function))
        if not self._read(function.__code__.co_filename):
            return False
        names = set(_names(function.__code__))
        if names & _ENVIRONMENT:
            return False
        modules = [v for name in names if isinstance(v := _value(function, name), ModuleType) and _is_own(v.__name__)]
        attributes = [vars(module)[name] for module in modules for name in names & vars(module).keys()]
        values = [_value(function, name) for name in sorted(names)]
        return all(map(self._take, [*modules, *attributes, *values]))

    def _take(self, value: Any) -> bool:
        if isinstance(value, ModuleType):
            return not _is_own(value.__name__) or self._read(getattr(value, "__file__", None) or "")
        if inspect.isclass(value):
            methods = [method for method in vars(value).values() if inspect.isfunction(method)]
            return not _is_own(value.__module__) or all(map(self.follow, methods))
        if inspect.isfunction(value):
            return not _is_own(value.__module__) or self.follow(value)
        value = plain(value)
        if _is_packed(value):
            self.values.add(pack(value))
        return True

    def _read(self, path: str) -> bool:
        if not Path(path).is_file():
            return False
        self.files[path] = digest_of_file(path)
        return True


def _names(code: CodeType) -> Iterator[str]:
    """Of variables, attributes and modules, in the code and in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _value(function: FunctionType, name: str) -> Any:
    """What a name is: a global variable, or a module that the function imports itself."""
    return function.__globals__.get(name, sys.modules.get(name))


def _is_whole(module: str) -> bool:
    return module.partition(".")[0] in _WHOLE


def _is_own(module: str) -> bool:
    """Whether a module is neither Python's, nor installed, nor of the packages that count as a whole."""
    if _is_whole(module):
        return False
    path = getattr(sys.modules.get(module), "__file__", None)
    folders = (sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    return path is not None and not any(Path(path).is_relative_to(folder) for folder in folders)


def _is_packed(value: Any) -> bool:
    try:
        pack(value)
    except TypeError:
        return False
    return True
