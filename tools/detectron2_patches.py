"""What detectron2 0.6 needs to run with current libraries and without its compiled operators."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class PatchError(Exception):
    """A patch found nothing to replace."""


@dataclass(frozen=True)
class Patch:
    """A substitution that must apply to each of its files.

    Attributes:
        reason: why 0.6 needs it.
        files: paths below ``detectron2/``.
        pattern: a regular expression, ``^`` and ``$`` match at line ends.
        replacement: what ``re.sub`` puts there.
    """

    reason: str
    files: tuple[str, ...]
    pattern: str
    replacement: str


PATCHES = (
    Patch(
        "the operators of detectron2._C are not in this wheel",
        ("layers/deform_conv.py", "layers/roi_align_rotated.py", "layers/rotated_boxes.py"),
        r"^from detectron2 import _C\n",
        "try:\n    from detectron2 import _C\nexcept ImportError:\n    _C = None\n",
    ),
    Patch(
        "the fast COCO evaluation is one of them; pycocotools' own gives the same numbers",
        ("evaluation/coco_evaluation.py",),
        r"^from detectron2\.evaluation\.fast_eval_api import COCOeval_opt\n",
        "try:\n    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
        "except ImportError:\n    COCOeval_opt = COCOeval\n",
    ),
    Patch(
        "Pillow 10 has no Image.LINEAR",
        ("data/transforms/transform.py",),
        r"Image\.LINEAR\b",
        "Image.BILINEAR",
    ),
    Patch(
        "setuptools 82 has no pkg_resources",
        ("model_zoo/model_zoo.py",),
        r"^import pkg_resources\n",
        "",
    ),
    Patch(
        "setuptools 82 has no pkg_resources",
        ("model_zoo/model_zoo.py",),
        r"pkg_resources\.resource_filename\(\s*\"detectron2\.model_zoo\", "
        r"(os\.path\.join\(\"configs\", config_path\))\s*\)",
        r"os.path.join(os.path.dirname(os.path.abspath(__file__)), \1)",
    ),
    Patch(
        "torch 2 has no caffe2",
        ("export/__init__.py",),
        r"^from \.api import \*\n",
        "try:\n    from .api import *\nexcept ImportError:\n    pass\n",
    ),
    Patch(
        "torch 2's schedulers are no _LRScheduler, and the schedule would be missing from checkpoints",
        ("engine/hooks.py",),
        r"torch\.optim\.lr_scheduler\._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
    ),
    Patch(
        "Python 3.11 samples from no set",
        ("data/common.py",),
        r"rng\.sample\(self\._fallback_candidates, k=1\)",
        "rng.sample(list(self._fallback_candidates), k=1)",
    ),
    Patch(
        "NumPy 1.24 has no np.bool, np.int, np.float, np.str",
        (
            "data/build.py",
            "data/datasets/pascal_voc.py",
            "evaluation/pascal_voc_evaluation.py",
            "evaluation/sem_seg_evaluation.py",
            "structures/masks.py",
            "utils/video_visualizer.py",
            "utils/visualizer.py",
        ),
        r"\bnp\.(bool|int|float|str)\b(?![_0-9])",
        r"\1",
    ),
)


def apply_patches(files: Mapping[str, bytes], patches: Sequence[Patch] = PATCHES) -> dict[str, bytes]:
    """A copy of ``files`` with ``patches`` applied.

    Raises:
        PatchError: a patch finds nothing to replace in one of its files.
    """
    result = dict(files)
    for patch in patches:
        for name in patch.files:
            path = f"detectron2/{name}"
            text = result.get(path, b"").decode()
            text, count = re.subn(patch.pattern, patch.replacement, text, flags=re.MULTILINE)
            if count == 0:
                raise PatchError(f"{path}: the patch for '{patch.reason}' does not apply. Is this detectron2 0.6?")
            result[path] = text.encode()
    return result
