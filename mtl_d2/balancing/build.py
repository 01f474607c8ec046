"""Registries of the choices, and the Balancer that is built of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from fvcore.common.registry import Registry
from torch import nn

from mtl_d2.balancing.base import GradientStage, Scalarization, Setup, Strategy, UpdateResult

if TYPE_CHECKING:
    from mtl_d2.balancing.jacobian import Oracle


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


SCALARIZATIONS = MethodRegistry("SCALARIZATIONS")
ROW_SCALINGS = MethodRegistry("ROW_SCALINGS")
AGGREGATORS = MethodRegistry("AGGREGATORS")
STEPS = MethodRegistry("STEPS")


def load_methods() -> None:
    """Imports every file of the method packages, which registers what they define. Repeated calls do nothing."""
    for package_name in ("scalarization", "gradient", "step"):
        package = importlib.import_module(f"mtl_d2.balancing.{package_name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


class Balancer(nn.Module):
    """One update: scalarization, gradient stage and step. Its parameters and buffers are the methods' whole state."""

    def __init__(self, setup: Setup, scalarization: Scalarization, gradient: GradientStage, step: Strategy) -> None:
        """Args are the built choices; ``setup`` is what they were built for."""
        super().__init__()
        self.setup = setup
        self.scalarization = scalarization
        self.gradient = gradient
        self.step = step

    def forward(self, oracle: Oracle, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Makes one update.

        Args:
            oracle: gives the losses and gradients of this batch and puts the combined gradient into ``.grad``.
            update: number of optimizer updates made before this one.
            apply: moves all parameters by their ``.grad``: unscales, clips, steps, once.

        Raises:
            FloatingPointError: a task's loss or gradient is not finite; nothing has been moved.
        """
        return self.step(oracle, self, update, apply)
