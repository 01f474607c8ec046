"""Multi-task learning for detectron2: models, data and task balancing.

``load`` gives the network of a training, which is called with images; see docs/prediction.md. It is imported when it
is asked for, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_d2.prediction.network import Network, load
    from mtl_d2.prediction.results import Prediction

__version__ = "0.1.0"
__all__ = ["Network", "Prediction", "__version__", "load"]

_PLACES = {
    "load": "mtl_d2.prediction.network",
    "Network": "mtl_d2.prediction.network",
    "Prediction": "mtl_d2.prediction.results",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
