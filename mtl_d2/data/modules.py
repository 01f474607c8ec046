"""The user's own Python files, which register their data sets."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from hashlib import sha256
from pathlib import Path

from detectron2.config import CfgNode

from mtl_d2.data.errors import DataError


def import_modules(cfg: CfgNode) -> None:
    """Execute the files of ``MTL.DATA.MODULES`` in their order, each once in a process.

    Raises:
        DataError: a file is missing or fails; the message names the file and the line.
    """
    for name in cfg.MTL.DATA.MODULES:
        path = Path(name).resolve()
        if not path.is_file():
            raise DataError(
                f"MTL.DATA.MODULES names {name!r}: no such file ({path}): correct the path, or call the command from "
                "the folder that it counts from, where the training was called"
            )
        _execute(name, path)


def _execute(name: str, path: Path) -> None:
    key = f"mtl_d2_user_{sha256(str(path).encode()).hexdigest()[:16]}"
    if key in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise DataError(f"MTL.DATA.MODULES names {name!r}: not a Python file, its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[key]
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == str(path)]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1]
        raise DataError(f"MTL.DATA.MODULES: {name}, line {line}: {type(e).__name__}: {e}: correct the file") from e
