"""How often an image of rare classes is shown in an epoch: ``DATALOADER.REPEAT_THRESHOLD``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.samplers import RepeatFactorTrainingSampler


def repeat_factors(records: Sequence[dict[str, Any]], options: CfgNode) -> np.ndarray:
    """(records,) factors >= 1 by detectron2's computation over the records with boxes; 1 for the others.

    Args:
        records: of one stream.
        options: ``DATALOADER`` of the config; detectron2's main branch has ``REPEAT_SQRT`` in it.
    """
    labelled = [i for i, record in enumerate(records) if "annotations" in record]
    factors = np.ones(len(records))
    if not labelled:
        return factors
    root = {"sqrt": options.REPEAT_SQRT} if "REPEAT_SQRT" in options else {}
    counted = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        [records[i] for i in labelled], options.REPEAT_THRESHOLD, **root
    )
    factors[labelled] = counted.numpy()
    return factors
