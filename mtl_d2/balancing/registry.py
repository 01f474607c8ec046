"""Registries of the choices."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from fvcore.common.registry import Registry


class MethodRegistry(Registry):
    """fvcore's registry, with the names that configs use."""

    def named(self, name: str) -> Callable[[type], type]:
        """A class decorator that registers a method under ``name``."""

        def register(cls: type) -> type:
            self._do_register(name, cls)
            return cls

        return register

    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(name for name, _ in self))


WEIGHTINGS = MethodRegistry("WEIGHTINGS")
ROW_SCALINGS = MethodRegistry("ROW_SCALINGS")
AGGREGATORS = MethodRegistry("AGGREGATORS")
REGULARIZERS = MethodRegistry("REGULARIZERS")
STEPS = MethodRegistry("STEPS")


def load_methods() -> None:
    """Imports every file of the method packages, which registers what they define. Repeated calls do nothing."""
    for package_name in ("weighting", "gradient", "regularizer", "step"):
        package = importlib.import_module(f"mtl_d2.balancing.{package_name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
