"""Whether a file gives the predictions of its network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
OF_SCORES, OF_BOXES, OF_MAPS = 1e-3, 1e-3, 1e-3  # of boxes: of their longer side, and at least so many pixels
TIED = 1e-5  # scores so near are the same
ODD = 1e-4  # share of a map that may differ, where places of maxima or directions hang on the last bit


def differences(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> Iterator[str]:
    """A line for each output that is another.

    Args:
        found: of the file, by name.
        wanted: of the network. Rows of objects may stand in another order where their scores are the same.
    """
    for prefix in dict.fromkeys(name.rpartition("/")[0] for name in wanted if name.endswith("/boxes")):
        fields = ("boxes", "scores", "classes", "masks")
        names = [name for name in (f"{prefix}/{field}" for field in fields) if name in wanted]
        yield from _of_objects(prefix, *({n.rpartition("/")[2]: of[n] for n in names} for of in (found, wanted)))
    for name, values in wanted.items():
        if f"{name.rpartition('/')[0]}/boxes" not in wanted:
            yield from _of_map(name, found[name], values)


def _of_objects(key: str, found: Mapping[str, Array], wanted: Mapping[str, Array]) -> Iterator[str]:
    if len(found["boxes"]) != len(wanted["boxes"]):
        yield f"{key}: {len(found['boxes'])} objects, the network has {len(wanted['boxes'])}"
        return
    unmatched = set(range(len(found["boxes"])))
    for k in range(len(wanted["boxes"])):
        same = next((j for j in sorted(unmatched, key=lambda j: abs(j - k)) if _same(found, j, wanted, k)), None)
        if same is None and wanted["scores"][k] - wanted["scores"].min() <= TIED:
            continue  # which of the last are kept of those with the same score is a matter of rounding
        if same is None:
            nearest = min(unmatched, key=lambda j: float(abs(found["boxes"][j] - wanted["boxes"][k]).max()))
            yield (
                f"{key}: object {k} of class {wanted['classes'][k]}, score {wanted['scores'][k]:.4f}, box "
                f"{wanted['boxes'][k].round(3).tolist()}; nearest is class {found['classes'][nearest]}, score "
                f"{found['scores'][nearest]:.4f}, box {found['boxes'][nearest].round(3).tolist()}"
            )
            return
        unmatched.remove(same)


def _same(found: Mapping[str, Array], j: int, wanted: Mapping[str, Array], k: int) -> bool:
    box = wanted["boxes"][k]
    side = max(1.0, float(max(box[2] - box[0], box[3] - box[1])))
    return bool(
        found["classes"][j] == wanted["classes"][k]
        and abs(found["scores"][j] - wanted["scores"][k]) <= OF_SCORES
        and abs(found["boxes"][j] - box).max() <= OF_BOXES * side
        and ("masks" not in wanted or abs(found["masks"][j] - wanted["masks"][k]).max() <= OF_MAPS)
    )


def _of_map(name: str, found: Array, wanted: Array) -> Iterator[str]:
    """Numbers may differ by ``OF_MAPS``, of the largest where that is above 1, but for one of ten thousand."""
    if found.shape != wanted.shape:
        yield f"{name}: {found.shape}, the network has {wanted.shape}"
        return
    most = OF_MAPS * max(1.0, float(abs(wanted).max(initial=0)))
    apart = abs(found.astype(np.float64) - wanted)  # of ids, whether they are others
    odd = float((~(apart <= most)).mean())
    if odd > ODD:
        yield f"{name}: up to {apart.max():.2g} from the network's, in {100 * odd:.2g} % of its numbers"
