"""Multi-task learning for detectron2: models, data and task balancing."""

from importlib.util import find_spec

__version__ = "0.1.0"


def _require_detectron2() -> None:
    """Say how to install detectron2 where there is none; it is not imported here.

    Raises:
        ImportError: detectron2 is not installed. A folder of that name without ``__init__.py``, such as upstream's
            checkout seen from beside it, is none.
    """
    spec = find_spec("detectron2")
    if spec is None or spec.origin is None:
        raise ImportError(
            "mtl_d2 needs detectron2, which is not installed here and which no package index has. Install it by "
            "`python tools/install_detectron2.py` in the checkout of mtl_d2.",
            name="detectron2",
        )


_require_detectron2()
