"""How pseudo labels of one kind of task are made of predictions, kept in files, and given to records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mtl_d2.pseudo_labels.thresholds import Thresholds

Entry = dict[str, Any]  # one image in a file: file_name, height, width, and what the form adds
Fields = dict[str, Any]  # keys of a record with their values


class Form(Protocol):
    """A form of labels. A kind of task gives it, and nobody else asks which one it is.

    Attributes:
        thresholds: names of those that it uses.
        has_files: whether labels have files beside the JSON.
        most_classes: that labels can tell; None = any number.
    """

    thresholds: ClassVar[tuple[str, ...]]
    has_files: ClassVar[bool]
    most_classes: ClassVar[int | None]

    def label(self, prediction: Any, thresholds: Thresholds) -> Any:
        """What is sure enough of a model's output for an image, on the CPU."""

    def write(self, label: Any, folder: Path, name: str) -> Entry:
        """What the JSON has of a label; what is no text is written to files whose names begin with ``name``.

        Args:
            label: as ``label`` gives it.
            folder: of the data set's labels of this task; it is there if ``has_files``.
            name: the image's, which no other image of the data set has.
        """

    def content(self, entries: Iterable[Entry], classes: Sequence[str]) -> dict[str, Any]:
        """The JSON of a data set.

        Args:
            entries: of all images in their order, as ``write`` gave them, with file_name, height and width.
            classes: names by id.
        """

    def counts(self, entries: Iterable[Entry]) -> dict[str, int]:
        """What all entries show, by names that read well behind a number."""

    def fields(self, content: Mapping[str, Any], folder: Path) -> dict[str, Fields]:
        """What records get, by the image's file_name in ``content``; the keys are those of true labels.

        Raises:
            KeyError, TypeError, ValueError, IndexError: ``content`` is not what was written.
        """

    def files(self, fields: Iterable[Fields]) -> list[str]:
        """Paths of the files that the records will need."""
