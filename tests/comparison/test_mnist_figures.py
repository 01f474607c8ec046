"""The example that draws the papers' figures from a comparison's runs."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "mnist_figures.py"
spec = importlib.util.spec_from_file_location("mnist_figures", EXAMPLE)
mnist_figures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mnist_figures)


def write(folder, rows, accuracy=90.0):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(
        "".join(json.dumps({"iteration": i, **row}) + "\n" for i, row in enumerate(rows))
    )
    metrics = {mnist_figures.VALIDATION: {"harmonic_mean": accuracy}}
    (folder / "results.json").write_text(json.dumps({"run": metrics}))


def cosines(values):
    name = mnist_figures.COSINE
    return [{name: value, mnist_figures.spread_name(name): abs(value)} for value in values]


def test_spread_is_that_of_the_first_epoch(tmp_path):
    write(tmp_path / "none" / "1", cosines([0.5, -0.5] * 125 + [0.9] * 100), accuracy=91.5)
    ((run,),) = mnist_figures.read_methods(tmp_path).values()
    assert mnist_figures.first_epoch(run) == (pytest.approx(0.5), 91.5)


def test_cosregs_figures_show_every_method_and_the_papers_by_name(tmp_path):
    for method in ("none", "batch_norm", "pcgrad"):
        for seed in (1, 2):
            write(tmp_path / method / str(seed), cosines(np.linspace(-0.3, 0.3, 60)))
    figure = mnist_figures.draw_cosreg(tmp_path)
    names = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    assert names == [[], ["none", "batch norm"], ["none", "batch norm", "pcgrad"]]
    assert all(len(line.get_xdata()) == 2 for line in figure.axes[2].lines)


def test_shares_say_how_far_they_are_from_a_half(tmp_path):
    rows = [{"share_before/class_left": 0.6, "share_after/class_left": 0.45}] * 5
    write(tmp_path / "lookahead" / "1", rows)
    mnist_figures.main(["shares", str(tmp_path / "lookahead"), "--output", str(tmp_path / "shares.png")])
    assert (tmp_path / "shares.png").stat().st_size > 5000
    labels = [line.get_label() for line in mnist_figures.draw_shares(tmp_path / "lookahead").axes[0].lines]
    assert "before the inner step: 0.1000 from 0.5" in labels
    assert "after the inner step: 0.0500 from 0.5" in labels


def test_accuracies_are_means_over_seeds_with_their_last_rise(tmp_path):
    for method, rise in (("ordinary", 1.0), ("look_ahead", 4.0)):
        for seed in (0, 2):
            rows = [{"accuracy/class_left": 80.0 + seed + rise * i} for i in range(5)]
            write(tmp_path / method / str(seed), rows)
    write(tmp_path / "only_right" / "1", [{"accuracy/class_right": 90.0}] * 2)
    axes, right = mnist_figures.draw_accuracy(tmp_path).axes
    assert len(right.lines) == 1
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["look ahead: 97.0, +4.0 in the last quarter", "ordinary: 85.0, +1.0 in the last quarter"]


def test_harmonic_mean_is_of_those_that_have_all_tasks(tmp_path):
    both = {"accuracy/class_left": 80.0, "accuracy/class_right": 90.0, "accuracy/harmonic_mean": 84.7}
    write(tmp_path / "none" / "1", [both] * 2)
    write(tmp_path / "only_left" / "1", [{"accuracy/class_left": 91.0, "accuracy/harmonic_mean": 91.0}] * 2)
    assert [len(axes.lines) for axes in mnist_figures.draw_accuracy(tmp_path).axes] == [2, 1, 1]


def test_folder_without_such_runs_is_told(tmp_path):
    with pytest.raises(SystemExit, match="has no run that logged what figure 'cosreg' shows"):
        mnist_figures.main(["cosreg", str(tmp_path)])
