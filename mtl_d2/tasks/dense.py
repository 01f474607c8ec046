"""What depth and surface normals have in common: a map of numbers for each pixel, from a head on the pyramid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from torch import Tensor, nn

from mtl_d2.data.checks.dense_maps import DenseFindings, empty_maps, look_at_maps, unusable_maps
from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.dense_maps import DenseMaps, DenseReader, other_size
from mtl_d2.data.errors import DataError
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.dense import AVERAGES, DenseEvaluator, DenseLabels, Scores
from mtl_d2.evaluation.dense_constant import ConstantDense
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import size_of
from mtl_d2.modeling.heads.dense import DenseMapHead
from mtl_d2.modeling.heads.map_layers import LAYERS_OPTIONS, check_layers
from mtl_d2.options import Option, choice, number
from mtl_d2.tasks.base import Record, TaskKind

# Of metrics, by what they are means over.
DEFINITIONS = {"pixels": "over all labelled pixels of the set", "images": "means over images of each one's metrics"}


def layer_options(losses: Sequence[str], about_losses: str) -> dict[str, Option]:
    """The options that heads of both kinds have; the first of ``losses`` is the default."""
    return {
        **LAYERS_OPTIONS,
        "LOSS": choice(losses[0], about_losses, losses),
        "LOSS_WEIGHT": number(1.0, "Factor of the loss.", least=0),
    }


class DenseTruth:
    """The label itself as the prediction."""

    def __init__(self, maps: DenseMaps, metadata: Any) -> None:
        """Args: ``maps``, keys of the task; ``metadata`` of the data set."""
        self.key, self._maps, self._metadata = maps.sample, maps, metadata

    def right(self, record: Record) -> Tensor:
        """The map, of the size of its image.

        Raises:
            DataError: the map cannot be read, or has another size.
        """
        values = self._maps.read(record, self._metadata).values
        if values.shape[:2] != size_of(record):
            raise DataError(other_size(record[self._maps.file], values, size_of(record)))
        return self._maps.tensor(values)

    def wrong(self, record: Record) -> None:
        """There is no such thing as no depth."""

    def pixels(self, record: Record) -> int:
        """Of its image."""
        height, width = size_of(record)
        return height * width


class DenseTask(TaskKind):
    """A task whose label is a map of numbers, in a file of its own.

    Attributes:
        kind_maps: keys of the kind, and what is done with its labels.
        maps: those of the task.
    """

    kind_maps: ClassVar[Any]
    maps: Any

    def __init__(self, task: str) -> None:
        """See ``TaskKind``."""
        super().__init__(task)
        self.maps = self.kind_maps.named(self.own_name)

    def scores(self, metadata: Any) -> Scores:
        """What measures predictions on a data set with these metadata."""
        raise NotImplementedError

    def record_defaults(self, cfg: Any, dataset: str) -> Mapping[str, Any]:
        """How to read the maps, where the data set's metadata say it."""
        metadata = self.metadata(dataset)
        said = {key: metadata.get(key) for key in self.reading_keys}
        return {key: value for key, value in said.items() if value is not None}

    def reader(self, cfg: Any) -> DenseReader:
        """Maps with their geometry."""
        return DenseReader(self.maps)

    def check_config(self, cfg: Any) -> Iterator[str]:
        """Layers that there are."""
        return check_layers(cfg, self)

    def check_records(self, examination: Examination) -> None:
        """The pixels of some maps."""
        findings = look_at_maps(examination.cleaned, self.maps, examination.metadata)
        examination.refuse(unusable_maps(findings))
        examination.warn(empty_maps(findings))
        examination.warn(self.odd_labels(findings, examination.metadata))

    def odd_labels(self, findings: DenseFindings, metadata: Any) -> Iterator[str]:
        """A line for what the labels of a data set can hardly be."""
        raise NotImplementedError

    def build_head(self, layers: nn.Module) -> DenseMapHead:
        """Predictions at the size of the stored image."""
        return DenseMapHead(self, layers)

    def truth(self, cfg: Any, dataset: str) -> DenseTruth:
        """The map."""
        return DenseTruth(self.maps, self.metadata(dataset))

    def constant(self, cfg: Any, records: Sequence[Record]) -> ConstantDense:
        """The mean at each place."""
        return ConstantDense(records, self.maps)

    def average(self, dataset: str) -> str:
        """A key of ``AVERAGES``.

        Raises:
            DataError: the data set's metadata say something else.
        """
        average = self.metadata(dataset).get(self.maps.average, next(iter(AVERAGES)))
        if average not in AVERAGES:
            raise DataError(
                f"data set {dataset!r} has {self.maps.average} {average!r} in its metadata, which is none of "
                f"{', '.join(map(repr, AVERAGES))}: register it with one of them, or without"
            )
        return average

    def definition(self, dataset: str) -> str:
        """Whether means are over all pixels, or over images."""
        return DEFINITIONS[self.average(dataset)]

    def evaluator(self, dataset: str) -> DenseEvaluator:
        """Of a data set."""
        metadata = self.metadata(dataset)
        records = read_records(dataset)  # some readers complete their metadata only now

        def read(record: Record) -> Any:
            return self.maps.read(record, metadata).values

        labels = DenseLabels(dataset, records, self.record_key, self.sample_key, self.group, read)
        return DenseEvaluator(labels, AVERAGES[self.average(dataset)](self.scores(metadata)))


def dense_tool(title: str, advice: str) -> Tool:
    """What evaluates tasks of a kind.

    Args:
        title: what it measures, in words.
        advice: what to look at where it is wrong about the truth.
    """

    def build(dataset: str, kinds: Iterable[TaskKind], folder: Path) -> DatasetEvaluator:
        evaluators = [kind.evaluator(dataset) for kind in kinds if isinstance(kind, DenseTask)]
        return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)

    return Tool(title, build, advice)
