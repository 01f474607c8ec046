"""Imported first by the packages that need detectron2, to say how it is installed; ``mtl_d2.balancing`` needs none.

Raises:
    ImportError: detectron2 is not installed. A folder of that name without ``__init__.py``, such as upstream's checkout
        seen from beside it, is none.
"""

from importlib.util import find_spec

_spec = find_spec("detectron2")
if _spec is None or _spec.origin is None:
    raise ImportError(
        "mtl_d2 needs detectron2, which is not installed here and which no package index has. Install it by "
        "`python tools/install_detectron2.py` in the checkout of mtl_d2.",
        name="detectron2",
    )
