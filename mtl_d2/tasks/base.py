"""A kind of task: all that the rest of the product asks about a task, in one class.

A kind is a class in a file of this package, or in one that ``MTL.DATA.MODULES`` names; an instance of it is one task.
The mapper, the checks, the models, the evaluation and the report ask their questions here, and none of them knows a
kind by its name. ``docs/adding_a_task.md`` builds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata
from torch import Tensor

if TYPE_CHECKING:  # none of them is needed to define a kind
    from torch import nn

    from mtl_d2.data.checks.examination import Examination
    from mtl_d2.data.geometry import Geometry
    from mtl_d2.evaluation.tools import Tool
    from mtl_d2.evaluation.truth import Truth
    from mtl_d2.parallel.reduction import Reduction
    from mtl_d2.pseudo_labels.form import Form
    from mtl_d2.report.canvas import Canvas
    from mtl_d2.tasks.task import Task

Record = dict[str, Any]  # of a data set, as detectron2 has it
Sample = dict[str, Any]  # what the mapper makes of a record
Size = tuple[int, int]  # height and width, in pixels


class Reader(Protocol):
    """Reads the label of one task; it is sent to the loader's processes, so it can be pickled."""

    def __call__(self, record: Record, geometry: Geometry) -> Mapping[str, Any]:
        """What the sample gets: the label under the kind's ``sample_key``, and what belongs to it.

        Empty where nothing can be learnt of what the augmentation left: the sample is then not labelled for the task.

        Raises:
            DataError: a file cannot be read or does not fit; the message names it.
        """


class TaskHead(Protocol):
    """What a model has of one task.

    Attributes:
        task: the name, the terms of the loss, and the modules whose parameters are the task's own.
        levels: names of the features that it looks at.
        output_key: where a prediction stands in the output for an image; None = another head's holds it.
    """

    task: Task
    levels: Sequence[str]
    output_key: str | None

    def losses(self, features: dict[str, Tensor], samples: list[Sample], reduction: Reduction) -> dict[str, Tensor]:
        """The terms over ``samples``; see ``MultiTaskModel.task_losses``."""

    def outputs(self, features: dict[str, Tensor]) -> list[Tensor]:
        """All that its layers make of ``features``, before losses: what SyncBN needs of a process without samples."""

    def predict(self, features: dict[str, Tensor], images: Any, sizes: Sequence[Size]) -> list[Any]:
        """The prediction for each image.

        Args:
            features: of N images.
            images: detectron2's ``ImageList`` of them, as the network sees them.
            sizes: N, of the images as stored, which predictions are to have.
        """


class TaskKind:
    """One task of a kind; its name is the kind's, or the kind's with a name of its own: ``semantic/drivable``.

    The keys of a named task end with its name as well: its records have ``sem_seg_file_name/drivable``; so do the names
    of its modules and of its group of metrics, after a "_".

    Attributes:
        name: of the kind.
        several: whether a run may have several tasks of the kind, each with a name of its own.
        record_key: key of detectron2's dataset dict whose presence says that the record is labelled for the task.
        sample_key: key of the mapped sample that holds the label, and of a model's output that holds a prediction.
            Kinds may share one: then the one that derives from the others reads, draws and predicts for all.
        group: of metrics, in results.
        file_keys: keys of a record that name files.
        reading_keys: further keys of a record that say how to read the label; samples do not have them.
        classes_key: of a data set's metadata, the names of the classes; empty = the kind has none.
        ids_key: of its metadata, from the ids in its own files to those of its classes.
        options: node of the config with the options of its head, such as "MODEL.SEM_SEG_HEAD".
        module: name of the model's attribute that holds the head's layers.
        is_map: whether the label is a map with a value for each pixel of the image, in a file of its own.
        reads_masks: whether annotations need masks.
        evaluator_types: values of ``evaluator_type`` in metadata for which it has a tool of their own.
        metrics: of its evaluators, the last part of the name: whether higher is better.
    """

    name: ClassVar[str]
    several: ClassVar[bool] = True
    record_key: str
    sample_key: str
    group: str = ""
    file_keys: tuple[str, ...] = ()
    reading_keys: tuple[str, ...] = ()
    classes_key: str = ""
    ids_key: str = ""
    options: ClassVar[str] = ""
    module: str = ""
    is_map: ClassVar[bool] = False
    reads_masks: ClassVar[bool] = False
    evaluator_types: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[Mapping[str, bool]] = {}

    def __init__(self, task: str) -> None:
        """Args: ``task``, a name that ``is_name`` says is one of this kind."""
        self.task = task
        self.own_name = task.removeprefix(self.name).removeprefix("/")
        for attribute in ("record_key", "sample_key", "classes_key", "ids_key"):
            setattr(self, attribute, self.key(getattr(self, attribute)))
        self.group = f"{self.group}_{self.own_name}" if self.own_name else self.group
        self.file_keys = tuple(map(self.key, self.file_keys))
        self.reading_keys = tuple(map(self.key, self.reading_keys))
        self.module = f"{self.module}_{self.own_name}" if self.own_name else self.module

    @classmethod
    def is_name(cls, task: str) -> bool:
        """Whether ``task`` is the name of a task of this kind."""
        given = task.removeprefix(f"{cls.name}/")
        return task == cls.name or (given != task and given.isidentifier())

    @classmethod
    def pattern(cls) -> str:
        """What its tasks are called, in words for a list."""
        return cls.name

    def key(self, key: str) -> str:
        """``key`` of a record, a sample, metadata or results as it is for this task."""
        return f"{key}/{self.own_name}" if key and self.own_name else key

    @classmethod
    def builds_layers(cls) -> bool:
        """Whether tasks of the kind have layers of their own on a pyramid, for any detector."""
        return cls.build_layers is not TaskKind.build_layers

    @classmethod
    def has_reader(cls) -> bool:
        """Whether labels are read, and not held by the records as samples have them."""
        return cls.reader is not TaskKind.reader

    @staticmethod
    def metadata(dataset: str) -> Metadata:
        """Of the catalog."""
        return MetadataCatalog.get(dataset)

    def class_names(self, dataset: str) -> list[str]:
        """What the ids of classes stand for in a data set; empty where it does not say, or the kind has none."""
        return list(self.metadata(dataset).get(self.classes_key) or ()) if self.classes_key else []

    # Labels: in a data set's records, and in samples.

    def is_in(self, sample: Sample) -> bool:
        """Whether a mapped sample has the label."""
        return self.sample_key in sample

    def is_in_record(self, record: Record) -> bool:
        """Whether a record has the label."""
        return self.record_key in record

    def is_in_some(self, records: Iterable[Record]) -> bool:
        """Whether a data set has the label."""
        return any(map(self.is_in_record, records))

    def where(self) -> str:
        """In words, where a record has the label."""
        return f"`{self.record_key}`"

    def record_defaults(self, cfg: Any, dataset: str) -> Mapping[str, Any]:
        """What records of a data set are read with, where they do not say it themselves."""
        return {}

    def reader(self, cfg: Any) -> Reader | None:
        """What reads labels for training; None where the record holds them as the sample does."""
        return None

    # Before the training: what is wrong with config and data.

    def check_config(self, cfg: Any) -> Iterable[str]:
        """A line for each option of ``cfg`` that the task cannot have."""
        return ()

    def check_records(self, examination: Examination) -> None:
        """Says what is wrong with the labels of a data set, by ``examination.refuse`` and ``examination.warn``."""

    def check_training_sets(self, examinations: Mapping[str, Examination]) -> Iterator[tuple[str, str]]:
        """What is wrong with the training sets that have the label, taken together.

        Yields:
            the data set that it is said of, or "" for what keeps the run from training; and the line.
        """
        yield from ()

    def number_of_classes(self, cfg: Any) -> tuple[str, int] | None:
        """The config key that says how many classes the head has, and its value; None where it has none."""
        return None

    # The network.

    def build_layers(self, cfg: Any, shapes: Mapping[str, Any]) -> nn.Module | None:
        """The layers of the head on a feature pyramid; None where the detector itself brings them.

        Args:
            cfg: with the options of this task in the node ``options``; see ``mtl_d2.tasks.options``.
            shapes: detectron2's ``ShapeSpec`` by name of the feature.
        """
        return None

    def build_head(self, layers: nn.Module) -> TaskHead:
        """The head whose ``layers`` are a model's attribute ``module``."""
        raise NotImplementedError(f"{type(self).__name__}.build_head is to be written, or build_layers to give None")

    # Evaluation.

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """What evaluates predictions on a data set whose metadata have this ``evaluator_type``."""
        raise NotImplementedError(f"{type(self).__name__}.tools is to be written")

    def truth(self, cfg: Any, dataset: str) -> Truth:
        """Predictions that are the truth, for the rehearsal of the evaluation."""
        raise NotImplementedError(f"{type(self).__name__}.truth is to be written")

    def constant(self, cfg: Any, records: Sequence[Record]) -> Callable[[int, int], Any] | None:
        """The best that can be said without looking at an image, for ``mtl_d2.evaluation.constant``.

        Args:
            cfg: of the run.
            records: to train on, which have the label.

        Returns:
            from height and width of an image to a prediction; None where nothing is known to be best.
        """
        return None

    def definition(self, dataset: str) -> str:
        """What the metrics are and whose tool says so; "" where only one definition is in use."""
        return ""

    # Predictions as labels of a further training.

    def pseudo_labels(self) -> Form | None:
        """What makes labels of a teacher's predictions, and reads them; None where the kind has no pseudo labels."""
        return None

    # Predictions for people.

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> Any:
        """What ``mtl_d2.load``'s network gives for an image, of numpy; see ``mtl_d2.prediction.results``.

        Args:
            output: the model's for the image, under ``sample_key``.
            metadata: of the catalog, with the classes that the network was trained with.
            score_threshold: where there are scores, what has a lower one is left out.
        """
        return output

    # Pictures.

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """Draws a record's label.

        Args:
            canvas: with the image.
            record: which has the label.
            metadata: of the catalog, with the classes.
        """

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """Draws a model's output under ``sample_key``; see ``draw_truth``."""

    def draw_result(self, canvas: Canvas, result: Any, metadata: Any) -> None:
        """Draws what ``result`` gave; see ``draw_truth``."""
        self.draw_prediction(canvas, result, metadata)


def first_of_each(kinds: Iterable[TaskKind]) -> list[TaskKind]:
    """One kind for each ``sample_key``: the one that derives from the others with it, in the order of the keys."""
    chosen: dict[str, TaskKind] = {}
    for kind in kinds:
        if kind.sample_key not in chosen or isinstance(kind, type(chosen[kind.sample_key])):
            chosen[kind.sample_key] = kind
    return list(chosen.values())


def hidden_keys(kind: TaskKind | type[TaskKind]) -> tuple[str, ...]:
    """Keys of a record that samples do not have: in the place of a label's they have what a reader made of it."""
    return (kind.record_key, *kind.file_keys, *kind.reading_keys) if kind.has_reader() else ()
