"""Data sets, the mapper and the loaders."""

import mtl_d2.detectron2_is_there  # noqa: F401
from mtl_d2.data.check import check_data
from mtl_d2.data.datasets import register_all
from mtl_d2.data.errors import DataError
from mtl_d2.data.loader import build_test_loader, build_train_loader, share_of_batch
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.data.modules import import_modules

__all__ = [
    "DataError",
    "MultiTaskMapper",
    "build_test_loader",
    "build_train_loader",
    "check_data",
    "import_modules",
    "register_all",
    "share_of_batch",
]
