"""The papers' figures, drawn from runs that never happened, with values worked out by hand."""

import json
import math

import numpy as np
import pytest
import yaml
from made_up import made_up_comparison, write_run

from mtl_d2.comparison.angle_figures import (
    angles_between_tasks,
    angles_of_consecutive_updates,
    cosines_and_weights,
    pair_title,
    pair_weights,
)
from mtl_d2.comparison.collect import collect_all
from mtl_d2.comparison.delta_figure import delta_over_time
from mtl_d2.comparison.figure_files import write_figures
from mtl_d2.comparison.loss_figures import inner_step_shares, loss_shares, shares_of
from mtl_d2.comparison.paper_figure import PaperFigure
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome

DONE = Outcome(FINISHED)
TASKS = ["detection", "semantic"]
PAIR, CONSECUTIVE = "cosine/detection_semantic", "cosine/consecutive_updates"


def logged(folder, rows, tasks=TASKS, metrics=None, outcome=DONE):
    """A run that logged ``rows``, one an update."""
    write_run(folder, metrics, outcome)
    lines = [json.dumps({"iteration": i, "total_loss": 1.0, **row}) + "\n" for i, row in enumerate(rows)]
    (folder / "metrics.json").write_text("".join(lines))
    (folder / "config.yaml").write_text(yaml.safe_dump({"MTL": {"TASKS": tasks}, "SOLVER": {"MAX_ITER": len(rows)}}))


@pytest.fixture
def gather(tmp_path):
    def gather(runs, **changes):
        """Collects {method: {seed: arguments of ``logged``}}."""
        comparison = made_up_comparison(tmp_path, methods={name: {} for name in runs}, **changes)
        for name, seeds in runs.items():
            for seed, arguments in seeds.items():
                logged(comparison.output / name / str(seed), **arguments)
        return collect_all(comparison)

    return gather


def cosines(*values, name=PAIR):
    return {"rows": [{name: value} for value in values]}


def outlines(axes):
    """Heights and edges of each outline."""
    return [(patch.get_data().values, patch.get_data().edges) for patch in axes.patches]


def test_angles_are_percent_of_the_updates_of_all_seeds_by_method(gather):
    runs = {"equal": {1: cosines(0.5, 0.5), 2: cosines(0.5, -0.5)}, "sta": {1: cosines(0.1, -0.1), 2: cosines()}}
    drawn = angles_between_tasks(gather(runs))
    (axes,) = [axes for axes in drawn.figure.axes if axes.get_visible()]
    (equal, edges), (sta, _) = outlines(axes)
    assert axes.get_title() == "detection, semantic"
    assert equal.sum() == sta.sum() == pytest.approx(100)
    middles = (edges[1:] + edges[:-1]) / 2
    assert equal[middles < 90].sum() == pytest.approx(75)  # 60 degrees three times, 120 once
    assert edges[[0, -1]] == pytest.approx([60, 120])
    assert sta[np.abs(middles - 90) < 6.1].sum() == pytest.approx(100)
    assert [text.get_text() for text in drawn.figure.legends[0].get_texts()] == ["equal", "sta"]
    assert drawn.lacks == ()


def test_consecutive_updates_are_a_figure_of_their_own(gather):
    runs = {
        "full": {1: cosines(0.2)},
        "ista": {1: {"rows": [{PAIR: 0.1}, {CONSECUTIVE: -0.5}]}, 2: cosines(0.5, name=CONSECUTIVE)},
    }
    collected = gather(runs)
    assert [axes.get_title() for axes in angles_between_tasks(collected).figure.axes] == ["detection, semantic"]
    drawn = angles_of_consecutive_updates(collected)
    ((heights, _),) = outlines(drawn.figure.axes[0])
    assert heights[[0, -1]] == pytest.approx([50, 50])  # 60 and 120 degrees
    assert drawn.lacks == (
        "full logs no cosine of consecutive updates: MTL.GRADIENT.EXACT_EVERY 20 (or fewer updates) logs them",
    )


def test_what_a_run_lacks_is_told_with_the_key_and_nothing_is_drawn(gather):
    collected = gather({"equal": {1: {"rows": [{}]}}, "only": {1: {"rows": [{}], "tasks": ["depth"]}}})
    for drawn in (angles_between_tasks(collected), angles_of_consecutive_updates(collected)):
        assert drawn.figure is None
        (line,) = drawn.lacks  # a model of one task has none
        assert line.startswith("equal logs no cosine")
        assert "MTL.GRADIENT.EXACT_EVERY" in line
    ((weights,), (inner,)) = cosines_and_weights(collected), inner_step_shares(collected)
    assert weights.lacks == (
        "no method weighs pairs of tasks by their cosine: one with MTL.GRADIENT.RESCALE mclgs does",
    )
    assert inner.lacks == ("no method takes an inner step: one with MTL.STEP.NAME lookahead does",)
    assert loss_shares(collected).lacks == ("equal has no logged update with all of its tasks",)


def test_runs_that_failed_are_in_no_figure(gather):
    collected = gather({"equal": {1: cosines(0.1) | {"outcome": Outcome(FAILED, "diverged")}}})
    assert angles_between_tasks(collected).figure is None


def test_weights_are_the_papers_in_the_updates_that_logged_both(gather):
    rows = [{PAIR: 0.5, "pacing": 2.0}, {"pacing": 1.0}, {PAIR: -0.25, "pacing": 0.0}]
    collected = gather({"equal": {1: cosines(0.1)}, "mclgs": {1: {"rows": rows}}})
    weights = pair_weights(collected.rows[1].finished[0].run, PAIR)
    assert weights.updates.tolist() == [0, 2]
    assert weights.values == pytest.approx([math.tanh(1) + 1, 1.0])
    (drawn,) = cosines_and_weights(collected)
    above, below = drawn.figure.axes
    assert drawn.name == "cosine_and_weight_mclgs"
    assert above.lines[0].get_ydata() == pytest.approx([0.5, -0.25])
    assert below.lines[0].get_ydata() == pytest.approx([1.7616, 1.0], abs=1e-4)
    assert len(below.lines[1].get_ydata()) == 2  # the running mean


def test_weights_of_another_level_are_those_of_its_cosine(gather):
    rows = [{PAIR: 0.5, "cosine_level/detection_semantic": 0.1, "pacing": 2.0}]
    (drawn,) = cosines_and_weights(gather({"mclgs": {1: {"rows": rows}}}))
    assert drawn.figure.axes[0].lines[0].get_ydata() == pytest.approx([0.1])


def test_shares_are_of_the_updates_with_all_tasks(gather):
    rows = [
        {"task_loss/detection": 3.0, "task_loss/semantic": 1.0},
        {"task_loss/detection": 9.0},
        {"task_loss/detection": 1.0, "task_loss/semantic": 1.0},
        {"task_loss/detection": 0.0, "task_loss/semantic": 0.0},
    ]
    collected = gather({"equal": {1: {"rows": rows}}})
    shares = shares_of(collected.rows[0].finished[0].run)
    assert shares["detection"].updates.tolist() == [0, 2]
    assert shares["detection"].values == pytest.approx([0.75, 0.5])
    assert shares["semantic"].values == pytest.approx([0.25, 0.5])
    drawn = loss_shares(collected)
    assert [axes.get_title() for axes in drawn.figure.axes] == TASKS
    assert drawn.figure.axes[1].lines[0].get_ydata()[0] == pytest.approx(0.25)


def test_inner_steps_have_both_shares_and_their_distance(gather):
    rows = [{f"share_{when}/{task}": share for when, share in (("before", 0.7), ("after", 0.6)) for task in TASKS}] * 3
    (drawn,) = inner_step_shares(gather({"lookahead": {1: {"rows": rows}}}))
    labels = [text.get_text() for text in drawn.figure.axes[0].get_legend().get_texts()]
    assert labels == ["before: 0.200 off", "after: 0.100 off"]
    assert drawn.name == "inner_step_shares_lookahead"


def delta_runs():
    scores = {"base": (20.0, 40.0), "equal": (22.0, 40.0), "halved": (20.0, None)}
    return {
        name: {1: {"rows": [{"time": 0.25}] * 3, "metrics": {"bbox": {"AP": ap}, "sem_seg": {"mIoU": iou}}}}
        for name, (ap, iou) in scores.items()
    }


@pytest.mark.parametrize(("updates", "seconds"), [(1, 0.25), (400, 100.0)])
def test_delta_stands_over_the_time_of_an_epoch(gather, updates, seconds):
    drawn = delta_over_time(gather(delta_runs(), seeds=[1]), updates)
    (axes,) = drawn.figure.axes
    points = {c.get_label(): (c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in axes.containers}
    assert points["equal"] == pytest.approx((seconds, 5.0))  # ((22 / 20 - 1) + 0) / 2 in percent
    assert points["base"] == pytest.approx((seconds, 0.0))
    assert "halved" not in points
    assert drawn.lacks == ("no Δ of halved (sem_seg/mIoU nan)",)


def test_single_task_runs_have_no_delta_and_need_none(gather, tmp_path):
    runs = {"equal": delta_runs()["equal"]}
    baselines = {"boxes": ({"bbox": {"AP": 20.0}}, ["detection"]), "maps": ({"sem_seg": {"mIoU": 20.0}}, ["semantic"])}
    for name, (metrics, tasks) in baselines.items():
        logged(tmp_path / "out" / name / "1", [{"time": 1.0}], tasks, metrics)
    drawn = delta_over_time(gather(runs, seeds=[1], baselines={name: {} for name in baselines}))
    (point,) = drawn.figure.axes[0].containers
    assert point.lines[0].get_ydata()[0] == pytest.approx(55.0)  # (10 + 100) / 2
    assert drawn.lacks == ()


def test_no_two_of_many_methods_look_alike(gather):
    runs = {"base": delta_runs()["base"]} | {f"method{i}": delta_runs()["equal"] for i in range(20)}
    (axes,) = delta_over_time(gather(runs, seeds=[1])).figure.axes
    looks = {(c.lines[0].get_marker(), c.lines[0].get_color()) for c in axes.containers}
    assert len(looks) == len(axes.containers) == 21


def test_without_a_base_there_is_no_delta_to_draw(gather):
    drawn = delta_over_time(gather({"equal": {1: {"rows": [{}]}}}))
    assert drawn.figure is None
    assert drawn.lacks == ("there is no Delta: name a `delta: base`, or `baselines` that have every metric",)


@pytest.mark.parametrize(
    ("name", "title"),
    [("cosine/a_b_c", "a_b, c"), ("cosine_level/depth_depth/near", "depth, depth/near"), ("cosine/x_y", "x_y")],
)
def test_pairs_are_told_by_their_tasks(name, title):
    assert pair_title(name, ("a_b", "c", "depth", "depth/near")) == title


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_same_runs_give_the_same_files(gather, tmp_path, kind):
    collected = gather({"equal": {1: cosines(0.1, 0.3, -0.2)}})
    first, second = (
        write_figures(tmp_path / name, "Title", [angles_between_tasks(collected), loss_shares(collected)], kind)
        for name in "ab"
    )
    assert [path.name for path in first] == [f"angles_between_tasks.{kind}"]
    assert first[0].read_bytes() == second[0].read_bytes()


def test_the_page_shows_each_figure_and_says_what_is_not_there(gather, tmp_path):
    drawn = angles_between_tasks(gather({"equal": {1: cosines(0.1)}}))
    nothing = PaperFigure("nothing", "A <title>", "", None, ("why & how",))
    write_figures(tmp_path / "figures", "Title", [drawn, nothing], notes=["sta, seed 1: failed"])
    page = (tmp_path / "figures" / "figures.html").read_text()
    assert '<img src="angles_between_tasks.png"' in page
    assert "sta, seed 1: failed" in page
    assert "A &lt;title&gt;" in page
    assert "Nothing to draw.</p><ul" in page
    assert "why &amp; how" in page
