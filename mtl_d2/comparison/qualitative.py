"""Rows of pictures: the image, its labels and what each method predicts, task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures and heads
from mtl_d2.comparison.collect import Collected, Record
from mtl_d2.comparison.paper_figure import PaperFigure, of_several_tasks, style
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.data import DataError, build_test_loader, register_all
from mtl_d2.data.addresses import shown_name
from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.data.reading import read_records
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.drawing import Image
from mtl_d2.report.file_names import CONFIG
from mtl_d2.report.palette import Palette
from mtl_d2.report.pictures import evaluating, image_of, metadata_of, palette_of
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of

SINGLE = "single-task"  # the column of all baselines: each has the rows of its own tasks
CELL = 2.3  # inches of a picture's width
LEGEND_COLUMNS = 6
EXPECTED = (ConfigError, DataError, CheckpointError, ForbiddenContentError, OSError)


@dataclass
class Sheet:
    """The pictures of one image.

    Attributes:
        dataset: the test set.
        index: of the image in it.
        record: of the image.
        image: (H, W, 3) RGB.
        tasks: by what predictions are called in a model's output, their tasks: several may draw one picture.
        spans: what colours of numbers span, for all methods alike.
        cells: pictures, by the same and column.
        captions: by the same, what colours mean.
        classes: that can be seen.
    """

    dataset: str
    index: int
    record: dict[str, Any]
    image: Image
    tasks: Mapping[str, Sequence[str]]
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    cells: dict[str, dict[str, Image]] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)

    def add(self, key: str, column: str, canvas: Canvas) -> None:
        """What a task has drawn on a canvas of its own."""
        caption, picture = canvas.of_one_task()
        self.cells.setdefault(key, {})[column] = picture.pixels
        self.captions.setdefault(key, caption.partition(": ")[2])
        self.classes |= picture.classes


def qualitative_rows(collected: Collected, images: int = 2, score_threshold: float = 0.3) -> list[PaperFigure]:
    """A figure of each of some images: image, labels and the predictions of the first finished run of each method.

    Models are built by the configs in the runs' folders and read from their newest checkpoints; the data sets must be
    where they were. What cannot be shown is told in a line.

    Args:
        collected: the runs.
        images: of each test set, evenly spread over it.
        score_threshold: objects with a lower score, in [0, 1], are not drawn.
    """
    empty = PaperFigure("predictions", "Predictions", "", None)
    rows, lacks = of_several_tasks(collected), list[str]()
    if not rows:
        return [empty]
    baselines = [row for row in collected.rows if row.entry.baseline and row.finished]
    runs = [*((SINGLE, row.finished[0]) for row in baselines), *((row.entry.name, row.finished[0]) for row in rows)]
    try:
        cfg = config_of(rows[0].finished[0].run.folder)
        palette, sheets = labelled_sheets(cfg, images, score_threshold)
    except EXPECTED as error:
        return [PaperFigure(empty.name, empty.title, "", None, (f"{rows[0].entry.name}: {_line(error)}",))]
    for column, record in runs:
        try:
            predict(sheets, column, record, palette, score_threshold)
        except EXPECTED as error:
            lacks.append(f"no predictions of {column} (seed {record.seed}): {_line(error)}")
    columns = list(dict.fromkeys(column for column, _ in runs))
    caption = (
        "The image, its labels, and what the first finished run of each method predicts. Colours of numbers span the "
        f"same in a row. Boxes have a score of at least {score_threshold:g}."
    )
    return [
        PaperFigure(f"predictions_{s.dataset}_{s.index}", f"{shown_name(s.record['file_name'])} of {s.dataset}",
                    caption, draw_sheet(s, columns, palette), tuple(lacks) if s is sheets[0] else ())
        for s in sheets
    ]  # fmt: skip


def config_of(folder: Path) -> CfgNode:
    """The config of a run, for the device that there is; its data sets are registered.

    Raises:
        ConfigError: it is none of ours.
        OSError: there is none.
    """
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"there is no {folder / CONFIG}")
    merge_config(cfg, str(folder / CONFIG), ["DATALOADER.NUM_WORKERS", "0"])
    if not torch.cuda.is_available():
        cfg.defrost()
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def labelled_sheets(cfg: CfgNode, images: int, score_threshold: float) -> tuple[Palette, list[Sheet]]:
    """Sheets of the test sets of a run with its labels, and the colours of all classes.

    Raises:
        DataError: a data set cannot be read.
    """
    every = kinds_of(cfg.MTL.TASKS)
    kinds = first_of_each(every)
    tasks = {kind.sample_key: [other.task for other in every if other.sample_key == kind.sample_key] for kind in kinds}
    palette = palette_of(cfg, kinds)
    sheets = []
    for name in cfg.DATASETS.TEST:
        for index, record in _spread(name, images, cfg):
            sheet = Sheet(name, index, record, image_of(record), tasks)
            for kind in kinds:
                if kind.record_key in record:
                    canvas = Canvas(sheet.image, palette, score_threshold, sheet.spans)
                    kind.draw_truth(canvas, record, metadata_of(kind, (name, *cfg.DATASETS.TRAIN)))
                    sheet.add(kind.sample_key, "labels", canvas)
            sheets.append(sheet)
    return palette, sheets


def predict(sheets: Sequence[Sheet], column: str, record: Record, palette: Palette, score_threshold: float) -> None:
    """Draws into ``sheets`` what the model of a run makes of their images.

    Raises:
        CheckpointError, ConfigError, DataError, ForbiddenContentError, OSError: there is no such model any more.
    """
    cfg = config_of(record.run.folder)
    model = MultiTaskTrainer.build_model(cfg)
    checkpointer = MultiTaskCheckpointer(model, save_dir=str(record.run.folder))
    checkpointer.classes = trained_classes(cfg)
    checkpointer.load_to_evaluate("", resume=True)
    kinds: list[TaskKind] = first_of_each(kinds_of(cfg.MTL.TASKS))
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    loaders: dict[str, Any] = {}
    with evaluating(model):
        for sheet in sheets:
            samples = loaders.setdefault(sheet.dataset, build_test_loader(cfg, sheet.dataset).dataset)
            output = model([sheet.record if "image" in sheet.record else samples[sheet.index]])[0]
            for kind in kinds:
                if kind.sample_key in output:
                    canvas = Canvas(sheet.image, palette, score_threshold, sheet.spans)
                    kind.draw_prediction(canvas, output[kind.sample_key], metadata_of(kind, names))
                    sheet.add(kind.sample_key, column, canvas)


def draw_sheet(sheet: Sheet, columns: Sequence[str], palette: Palette) -> Figure:
    """Tasks from top to bottom, image, labels and ``columns`` from left to right."""
    heads = ["image", "labels", *columns]
    height = CELL * sheet.image.shape[0] / sheet.image.shape[1] + 0.15
    with style():
        figure = Figure(figsize=(CELL * len(heads), height * len(sheet.cells) + 0.5), layout="constrained")
        axes = figure.subplots(len(sheet.cells), len(heads), squeeze=False)
        for line, (key, cells) in enumerate(sheet.cells.items()):
            shown = {"image": sheet.image, **cells} if line == 0 else cells
            for place, head in zip(axes[line], heads, strict=True):
                place.set(xticks=[], yticks=[])
                place.spines[:].set_visible(False)
                if line == 0:
                    place.set_title(head)
                if head in shown:
                    place.imshow(shown[head])
            axes[line][1].set_ylabel(", ".join(sheet.tasks.get(key, [key])))
            axes[line][1].set_xlabel(sheet.captions[key], fontsize=6)
        names = palette.in_order(sheet.classes)
        patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*palette[name]), label=name) for name in names]
        if patches:
            figure.legend(handles=patches, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=7, frameon=False)
    return figure


def _spread(name: str, images: int, cfg: CfgNode) -> Iterator[tuple[int, dict[str, Any]]]:
    """Places in the test loader and records of some images, the middles of as many equal parts of a test set."""
    samples: Any = build_test_loader(cfg, name).dataset  # which maps classes to the run's
    records = {record["file_name"]: record for record in read_records(name)}
    total = len(samples)
    for i in range(min(images, total)):
        index = int((i + 0.5) * total / min(images, total))
        yield index, records[samples[index]["file_name"]]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
