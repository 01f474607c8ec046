"""Rows of pictures of models that were never trained, on tiny sample scenes."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.modeling import build_model
from made_up import made_up_comparison, write_run
from small import small_cfg

from mtl_d2.comparison.collect import collect_all
from mtl_d2.comparison.qualitative import SINGLE, qualitative_rows
from mtl_d2.comparison.state import FINISHED, Outcome
from mtl_d2.data.sample_scenes.generate import Request, generate
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.dense_pictures import depth_picture, depth_range
from mtl_d2.report.palette import Palette
from mtl_d2.tasks.registry import kind_of

TOOL = Path(__file__).resolve().parents[2] / "tools" / "paper_figures.py"
TASKS = ("detection", "semantic", "depth", "normals")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "made"
    generate(path, Request(train=1, val=2, size=(96, 64), layouts=("cityscapes", "nyu")))
    return path


def write_model(folder, *tasks, seed=0):
    """A run's folder with a config and an untrained model."""
    cfg = small_cfg(*tasks)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("sample_scenes_all_train",), ("sample_scenes_all_val",)
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 8, 19
    cfg.INPUT.MIN_SIZE_TEST, cfg.OUTPUT_DIR = 64, str(folder)
    write_run(folder, {"bbox": {"AP": 1.0}}, Outcome(FINISHED))
    torch.manual_seed(seed)
    torch.save({"model": build_model(cfg).state_dict(), "iteration": 0}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    comparison = made_up_comparison(
        tmp_path_factory.mktemp("runs"),
        methods={"equal": {}, "mclgs": {}},
        seeds=[1],
        baselines={"only depth": {}, "only maps": {}},
    )
    runs = {"equal": TASKS, "mclgs": TASKS, "only_depth": ["depth"], "only_maps": ["semantic"]}
    for seed, (name, tasks) in enumerate(runs.items()):
        write_model(comparison.output / name / "1", *tasks, seed=seed)
    return comparison


@pytest.fixture
def comparison(made, scenes, monkeypatch, forgotten):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    return made


def cells(figure):
    """Pictures by (row, column), from top left."""
    columns = figure.axes[0].get_subplotspec().get_gridspec().ncols
    return {divmod(i, columns): axes.images[0].get_array() for i, axes in enumerate(figure.axes) if axes.images}


def test_rows_are_tasks_and_columns_image_labels_and_methods(comparison):
    drawn = qualitative_rows(collect_all(comparison), images=2)
    assert [figure.name for figure in drawn] == [f"predictions_sample_scenes_all_val_{i}" for i in (0, 1)]
    figure = drawn[0].figure
    heads = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert heads == ["image", "labels", SINGLE, "equal", "mclgs"]
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == list(TASKS)
    pictures = cells(figure)
    missing = {(0, 2), (3, 2), *((row, 0) for row in (1, 2, 3))}  # no model of boxes or normals alone; one image
    assert set(pictures) == set(np.ndindex(4, 5)) - missing
    assert not np.array_equal(pictures[3, 3], pictures[3, 4])
    assert drawn[0].lacks == ()


def test_labels_are_the_images_and_depth_spans_the_labels_numbers(comparison):
    (figure,) = (drawn.figure for drawn in qualitative_rows(collect_all(comparison), images=1))
    record = DatasetCatalog.get("sample_scenes_all_val")[1]
    kind = kind_of("depth")
    depth = kind.maps.read(record, MetadataCatalog.get("sample_scenes_all_val")).values
    caption = next(axes.get_xlabel() for axes in figure.axes if "metres" in axes.get_xlabel())
    nearest, farthest = (float(part.split()[0]) for part in caption.split(" to "))
    found = cells(figure)[2, 1].astype(int)
    expected = depth_picture(depth, (nearest, farthest)).astype(int)
    assert np.abs(found - expected).mean() < 2  # the caption has three digits


def test_what_is_drawn_later_spans_the_numbers_of_the_first():
    depth = np.linspace(1, 10, 6 * 8, dtype=np.float32).reshape(6, 8)
    image, spans, kind = np.zeros((6, 8, 3), np.uint8), {}, kind_of("depth")
    first, second = (Canvas(image, Palette([]), spans=spans) for _ in range(2))
    kind.draw_prediction(first, torch.from_numpy(depth), Metadata())
    kind.draw_prediction(second, torch.from_numpy(3 * depth), Metadata())
    (caption, one), (other_caption, other) = first.of_one_task(), second.of_one_task()
    assert caption == other_caption
    assert np.array_equal(other.pixels, depth_picture(3 * depth, depth_range(depth)))
    assert not np.array_equal(other.pixels, one.pixels)


def test_a_run_whose_model_is_gone_is_told_and_leaves_its_column_empty(comparison, tmp_path):
    shutil.copytree(comparison.output, tmp_path / "out")
    comparison = replace(comparison, output=tmp_path / "out")
    folder = comparison.output / "mclgs" / "1"
    for name in ("model_final.pth", "last_checkpoint"):
        (folder / name).unlink()
    (drawn,) = qualitative_rows(collect_all(comparison), images=1)
    assert [line for line in drawn.lacks if line.startswith("no predictions of mclgs (seed 1): ")]
    assert {column for _, column in cells(drawn.figure)} == {0, 1, 2, 3}


def test_data_that_are_gone_are_told(comparison, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    (drawn,) = qualitative_rows(collect_all(comparison), images=1)
    assert drawn.figure is None
    (line,) = drawn.lacks
    assert line.startswith("equal: ")
    assert "nowhere" in line


def test_the_tool_writes_figures_and_says_what_is_missing(comparison, capsys):
    spec = importlib.util.spec_from_file_location("paper_figures", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main([str(comparison.path), "--images", "1", "--only", "predictions", "inner", "shares"])
    said = capsys.readouterr().out
    assert "inner_step_shares: no method takes an inner step" in said
    assert f"1 figures; look at {comparison.output / 'figures' / 'figures.html'}" in said
    names = {path.name for path in (comparison.output / "figures").iterdir()}
    assert names == {"figures.html", "predictions_sample_scenes_all_val_1.png"}
    with pytest.raises(SystemExit):
        tool.parse([str(comparison.path), "--images", "0"])
