"""Fixtures that several folders of tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from mtl_d2 import options
from mtl_d2.tasks.registry import KINDS, load_kinds

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the small real data sets: camvid/, coco_mini/ and fixtures/."""
    path = Path(os.environ.get("MTL_D2_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"{path} does not exist: set MTL_D2_TEST_DATA to the folder of the small real data sets")
    return path


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What files of one's own declare and register in a test is forgotten after it, and so are the files."""
    load_kinds()
    for registry in (KINDS, META_ARCH_REGISTRY):
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.setattr(catalog, "data", dict(catalog.data))
    monkeypatch.setattr(options, "_DECLARED", {node: dict(of) for node, of in options._DECLARED.items()})
    known = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name.startswith("mtl_d2_user_") and name not in known]:
        del sys.modules[name]
