"""Trained networks as files for other runtimes."""

from mtl_d2.export.errors import ExportError
from mtl_d2.export.network import ExportedNetwork

__all__ = ["ExportError", "ExportedNetwork"]
