"""What is known of a data set while it is checked, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.data.annotation_findings import Cleaned
from mtl_d2.data.checks.findings import Findings
from mtl_d2.data.images import Header
from mtl_d2.data.listing import Listing, Places


@dataclass
class Examination:
    """One data set before the training.

    Attributes:
        cfg: of the run.
        name: of the data set.
        records: as its reader gives them.
        listing: of the folders of its files.
        findings: of all data sets.
        labelled: the tasks of the config that it labels.
        cleaned: the records with sizes and annotations in detectron2's form.
        cleaning: what was found while they were cleaned.
        cleaned_for: whether masks were looked at, and for which ``INPUT.MASK_FORMAT``.
        headers: of images and of label maps, by file, as far as there was time to look; None = cannot be opened.
        facts: what a kind of task keeps of it for ``check_training_sets``, under the kind's name or key.
        places: where its images are.
    """

    cfg: CfgNode
    name: str
    records: list[dict[str, Any]]
    listing: Listing
    findings: Findings
    labelled: set[str] = field(default_factory=set)
    cleaned: list[dict[str, Any]] = field(default_factory=list)
    cleaning: Cleaned = field(default_factory=Cleaned)
    cleaned_for: tuple[bool, str] = (False, "")
    headers: dict[str, Header | None] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=dict)

    @property
    def metadata(self) -> Metadata:
        """Of the catalog; some readers set them only when they have read."""
        return MetadataCatalog.get(self.name)

    @property
    def is_trained_on(self) -> bool:
        """Whether it is one of ``DATASETS.TRAIN``."""
        return self.name in self.cfg.DATASETS.TRAIN

    def refuse(self, lines: Iterable[str]) -> None:
        """Notes what keeps it from being trained on or evaluated, a line each."""
        self.findings.refuse(lines, self.name)

    def warn(self, lines: Iterable[str]) -> None:
        """Notes what may be meant so, but is seldom, a line each."""
        self.findings.warn(lines, self.name)
