import copy
import json
import logging
import math

import pytest
import torch
from toy import balancer, batch, complaints, context, scalarization, toy, weighting

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.registry import WEIGHTINGS

TWO = {"metrics": ("bbox/AP", "sem_seg/mIoU"), "potentials": (50.0, 80.0)}
METHOD = WEIGHTINGS.get("achievement")


def results(ap, miou):
    return {"bbox": {"AP": ap, "AP-car": 1.0}, "sem_seg": {"mIoU": miou}}


def w(method):
    return method(context(2)).tolist()


def evaluated(*pairs, **options):
    method = weighting(2, "achievement", **TWO, **options)
    for pair in pairs:
        method.on_evaluation(results(*pair))
    return method


def wrong(**options):
    return complaints(METHOD, **{**TWO, **options})


def test_poster_by_hand():
    assert w(evaluated((10.0, 60.0), preset="poster")) == pytest.approx([0.8, 0.25], rel=1e-14)


def test_code_by_hand():
    # potentials 52.5 and 84; second evaluation smoothed with .1: 10 -> 12 and 60 -> 61
    raw = [(1 - 12 / 52.5) ** 2, (1 - 61 / 84) ** 2]
    low = 1 / (1 + math.exp(raw[0] - raw[1]))
    assert w(evaluated((10.0, 60.0), (30.0, 70.0))) == pytest.approx([1 - low, low], rel=1e-13)


def test_sum_divides_by_the_sum():
    assert w(evaluated((10.0, 60.0), normalize="sum", margin=0.0, gamma=1.0)) == pytest.approx(
        [0.8 / 1.05, 0.25 / 1.05]
    )


def test_all_weights_are_the_same_before_the_first_evaluation():
    assert w(evaluated()) == [0.5, 0.5]
    assert w(evaluated(preset="poster")) == [1.0, 1.0]


def test_above_its_potential_a_task_has_no_weight():
    assert w(evaluated((60.0, 40.0), preset="poster")) == [0.0, 0.5]
    assert w(evaluated((60.0, 40.0), normalize="none", gamma=1.5))[0] == 0.0


def test_all_above_their_potentials_are_equal_in_a_mean_and_nothing_without():
    assert w(evaluated((60.0, 90.0), normalize="sum")) == [0.5, 0.5]
    assert w(evaluated((60.0, 90.0))) == [0.5, 0.5]
    scalar = scalarization(2, "achievement", "geometric", **TWO, preset="poster")
    scalar.weighting.on_evaluation(results(60.0, 90.0))
    losses = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(scalar(losses, context(2, losses=[2.0, 3.0])), [losses])[0].tolist() == [0.0, 0.0]


def test_geometric_mean_of_the_poster_is_the_product_of_powers():
    scalar = scalarization(2, "achievement", "geometric", **TWO, preset="poster")
    scalar.weighting.on_evaluation(results(10.0, 60.0))
    S = scalar(torch.tensor([2.0, 3.0], dtype=torch.float64), context(2, losses=[2.0, 3.0]))
    assert S.item() == pytest.approx(2**0.8 * 3**0.25, rel=1e-14)


def test_only_present_task_above_its_potential_still_learns_in_the_mean():
    scalar = scalarization(2, "achievement", "geometric", **TWO, normalize="sum")
    scalar.weighting.on_evaluation(results(60.0, 10.0))
    S = scalar(torch.tensor([2.0, 0.0], dtype=torch.float64), context(2, [True, False], [2.0, 0.0]))
    assert S.item() == pytest.approx(2.0)


@pytest.mark.parametrize(("error", "ratio"), [(8.0, 0.25), (1.0, 2.0), (0.0, 100.0)])
def test_error_is_inverted(error, ratio):
    options = {**TWO, "potentials": (50.0, 2.0), "direction": ("higher", "lower")}
    method = weighting(2, "achievement", **options)
    method.on_evaluation(results(25.0, error))
    assert method.accuracies.ratios.tolist() == [0.5, ratio]


@pytest.mark.parametrize(
    ("metrics", "direction", "ratios"),
    [
        (("depth/abs_err", "sem_seg/mIoU"), (), [0.25, 4.0]),
        (("own/unknown", "depth/abs_err"), (), [4.0, 0.25]),
        (("own/unknown", "depth/abs_err"), ("lower", "higher"), [0.25, 4.0]),
    ],
)
def test_direction_is_the_given_one_or_what_the_name_of_the_metric_tells(metrics, direction, ratios):
    method = weighting(2, "achievement", metrics=metrics, potentials=(2.0, 2.0), direction=direction)
    method.on_evaluation({"depth": {"abs_err": 8.0}, "sem_seg": {"mIoU": 8.0}, "own": {"unknown": 8.0}})
    assert method.accuracies.ratios.tolist() == ratios


def test_nan_keeps_the_old_value_and_is_said_once(caplog):
    method = evaluated((10.0, 60.0))
    before = w(method)
    with caplog.at_level(logging.WARNING):
        method.on_evaluation(results(math.nan, 60.0))
        method.on_evaluation(results(math.nan, 60.0))
    assert w(method) == pytest.approx(before)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["Metric bbox/AP is NaN"]


def test_nan_at_first_counts_as_not_seen():
    method = evaluated((math.nan, 60.0), (10.0, 60.0))
    assert method.scalars() == pytest.approx({"achievement_detection": 0.2, "achievement_semantic": 0.75})


@pytest.mark.parametrize("found", [{}, {"bbox": {"AP50": 1.0}, "sem_seg": {"mIoU": 2.0}}])
def test_metric_that_does_not_exist_is_named_with_those_that_do(found):
    with pytest.raises(ValueError, match="'bbox/AP' is not in the evaluation") as error:
        evaluated().on_evaluation(found)
    assert ("bbox/AP50, sem_seg/mIoU" if found else "no metric") in str(error.value)


def test_potentials_are_read_from_the_own_row_of_single_task_results(tmp_path):
    for name, group, metrics in [("d", "bbox", {"AP": 50.0}), ("s", "sem_seg", {"mIoU": 80.0})]:
        rows = {row: {group: dict.fromkeys(metrics, 1.0)} for row in ("untrained", "sum", "best constant")}
        rows |= {"sum": {group: metrics}, "own_row": "sum"}
        (tmp_path / name).write_text(json.dumps(rows))
    options = {**TWO, "potentials": (), "potentials_from": (str(tmp_path / "d"), str(tmp_path / "s"))}
    assert wrong(**options) == []
    assert weighting(2, "achievement", **options).accuracies.references.tolist() == [50.0, 80.0]


@pytest.mark.parametrize("rows", [{"own_row": "mclgs"}, {}])
def test_potential_may_be_given_by_the_folder_of_its_run(tmp_path, rows):
    rows = {"untrained": {"bbox": {"AP": 0.1}}, "mclgs": {"bbox": {"AP": 38.2}}, **rows}
    (tmp_path / "results.json").write_text(json.dumps({**rows, "best constant": {"bbox": {"AP": 3.4}}}))
    options = {"metrics": ("bbox/AP",), "potentials_from": (str(tmp_path),)}
    assert complaints(METHOD, 1, **options) == []
    assert weighting(1, "achievement", **options).accuracies.references.tolist() == [38.2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read from"),
        ("{", "cannot be read from"),
        ("{}", "no row of the run's own"),
        ('{"a": {"bbox": {"AP50": 3.0}}}', "'bbox/AP' is not in the row 'a' of"),
        ('{"a": {"bbox": {"AP": null}}}', "must be a number > 0, got nan"),
    ],
)
def test_potential_that_cannot_be_read_is_said_with_its_mend(tmp_path, text, complaint):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    found = complaints(METHOD, 1, metrics=("bbox/AP",), potentials_from=(str(path),))
    assert len(found) == 1
    assert complaint in found[0]
    assert "POTENTIALS" in found[0] or "METRICS" in found[0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"metrics": ("bbox/AP",)}, "METRICS needs a metric"),
        ({"metrics": ("bbox/AP", "mIoU")}, "METRICS must be a list in which each entry is 'group/name'"),
        ({"direction": ("up", "higher")}, "DIRECTION must be"),
        ({"potentials": ()}, "exactly one of POTENTIALS and POTENTIALS_FROM"),
        (
            {"potentials": (50.0, 0.0)},
            "POTENTIALS must be a list in which each entry is a finite number > 0, got (50.0, 0.0)",
        ),
        ({"momentum": 0.0}, "MOMENTUM must be a finite number > 0 and <= 1"),
        ({"gamma": -1.0}, "GAMMA must be a finite number >= 0"),
        ({"normalize": "max"}, "NORMALIZE must be one of"),
        ({"preset": "paper"}, "PRESET must be one of"),
        ({"preset": "poster", "gamma": 3.0}, "PRESET 'poster' sets GAMMA"),
    ],
)
def test_wrong_options_are_named(options, complaint):
    assert wrong() == wrong(preset="poster") == []
    (line,) = wrong(**options)
    assert line.startswith(complaint) or complaint in line


def test_state_survives_before_and_after_the_first_evaluation():
    for seen in range(3):
        pairs = [(10.0, 60.0), (math.nan, 70.0)][:seen]
        one, two = evaluated(*pairs), weighting(2, "achievement", **{**TWO, "potentials": (1.0, 1.0)})
        two.load_state_dict(copy.deepcopy(one.state_dict()))
        for method in (one, two):
            method.on_evaluation(results(30.0, 65.0))
        assert w(one) == w(two)


def test_differs_from_the_sum_after_an_evaluation():
    model, found = toy(), []
    for name, options in [("equal", {}), ("achievement", {**TWO, "preset": "poster"})]:
        oracle = Oracle(model)
        oracle.load(batch(*[("detection", "semantic")] * 4))
        scalar = scalarization(2, name, **options)
        scalar.weighting.on_evaluation(results(10.0, 75.0))
        model.zero_grad()
        balancer(2, scalar=scalar)(oracle, 0, lambda: None)
        found.append(model.trunk[0].weight.grad.flatten())
    assert torch.cosine_similarity(*found, dim=0) < 0.9999
