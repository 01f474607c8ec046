"""Pseudo labels that are maps: the class of each pixel as a PNG, 255 where the teacher is not sure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.files import PARTIAL, naming
from mtl_d2.pseudo_labels.form import Entry, Fields
from mtl_d2.pseudo_labels.thresholds import Thresholds

UNSURE = 255  # the id of pixels without a label
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # label maps are small at any level


@dataclass(frozen=True)
class MapForm:
    """The class of the highest score, where its probability is high enough.

    Attributes:
        keys: of records.
    """

    keys: LabelMapKeys
    thresholds: ClassVar[tuple[str, ...]] = ("confidence",)
    has_files: ClassVar[bool] = True
    most_classes: ClassVar[int | None] = UNSURE  # ids of 8 bits below it

    def label(self, prediction: Tensor, thresholds: Thresholds) -> npt.NDArray[np.uint8]:
        """See ``Form``; of scores (C, H, W) before the softmax, ids (H, W)."""
        probabilities, ids = prediction.float().softmax(dim=0).max(dim=0)
        sure = probabilities >= thresholds.confidence  # NaN is not
        return ids.to(torch.uint8).masked_fill_(~sure, UNSURE).cpu().numpy()

    def write(self, label: npt.NDArray[np.uint8], folder: Path, name: str) -> Entry:
        """See ``Form``: a PNG, whole as soon as it has its name."""
        path = folder / f"{name}.png"
        written, pixels = cv2.imencode(".png", label, FAST)
        assert written, path
        with naming(path):
            partial = path.with_name(f".{path.name}{PARTIAL}")
            partial.write_bytes(pixels.tobytes())
            os.replace(partial, path)
        return {"map": f"{folder.name}/{path.name}", "sure": round(float((label != UNSURE).mean()), 6)}

    def content(self, entries: Iterable[Entry], classes: Sequence[str]) -> dict[str, Any]:
        """See ``Form``: which image has which map, and what its ids are."""
        categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
        return {"images": list(entries), "categories": categories, "ignore_label": UNSURE}

    def counts(self, entries: Iterable[Entry]) -> dict[str, int]:
        """See ``Form``."""
        sure = [entry["sure"] for entry in entries]
        return {"percent_of_pixels": round(100 * sum(sure) / max(len(sure), 1)), "images_without_pixels": sure.count(0)}

    def fields(self, content: Mapping[str, Any], folder: Path) -> dict[str, Fields]:
        """See ``Form``."""
        ignored = int(content["ignore_label"])
        return {
            image["file_name"]: {self.keys.file: str(folder.parent / image["map"]), self.keys.ignored: ignored}
            for image in content["images"]
        }

    def files(self, fields: Iterable[Fields]) -> list[str]:
        """See ``Form``."""
        return [of_image[self.keys.file] for of_image in fields]
