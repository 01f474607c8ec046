"""Which tasks supervise which sample in an update. Each file of this package holds one way; importing it finds them."""

import importlib
import pkgutil

from mtl_d2.data.allocation.base import ALLOCATIONS, Allocation

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ALLOCATIONS", "Allocation"]
