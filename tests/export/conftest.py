"""Files of networks, each written once."""

from functools import cache

import pytest
from networks_to_export import untrained

from mtl_d2.export.run import Wish, export


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Of an architecture, its network and a file of it in ONNX that passed the check, and what the check saw."""
    pytest.importorskip("onnx", reason='needs the extra "export"')
    pytest.importorskip("onnxruntime", reason='needs the extra "export"')

    @cache
    def of(architecture):
        trained = untrained(architecture)
        trained.model.train()
        file = tmp_path_factory.mktemp(architecture) / "network.onnx"
        return trained, file, export(trained, Wish(file))

    return of
