"""What is kept of the labels of a kind of task, and what is said of them. Each file has one form of label.

An own kind that derives from one of the product's is looked at as that one is; another one registers its inspector::

    @inspector.register(MyKind)
    def _(kind, cfg):
        return MyInspector(kind, cfg)
"""

from mtl_d2.inspection.labels import class_maps, depth, normals, objects, whole_images  # noqa: F401  # they register
from mtl_d2.inspection.labels.base import Inspector, Labels, Summary, inspector

__all__ = ["Inspector", "Labels", "Summary", "inspector"]
