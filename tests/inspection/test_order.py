"""Classes that two data sets number in another order are found by what their samples look like."""

from itertools import combinations

import numpy as np
import pytest
from detectron2.config import get_cfg

from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.inspection import Limits, look_at_data
from mtl_d2.inspection.bars import doubling
from mtl_d2.inspection.labels.base import Profile
from mtl_d2.inspection.suspicions.order import interchanged, other_orders
from mtl_d2.inspection.suspicions.teachers import wrong_teachers

CONFIG = "docs/examples/camvid_coco.yaml"


def made_up(classes, samples, seed, shift=0.0):
    """Classes whose means are about two standard deviations apart, and a shift of all of them."""
    means = np.random.default_rng(0).normal(0, 2, (classes, 6))
    draw = np.random.default_rng(seed)
    return [Profile(mean + shift + draw.normal(0, 1, (samples, 6))) for mean in means]


@pytest.mark.parametrize("shift", [0.0, 3.0, -10.0])
@pytest.mark.parametrize("samples", [10, 100])
def test_the_same_order_is_no_matter_of_how_many_samples_or_another_camera(samples, shift):
    for seed in range(1, 6):
        assert interchanged(made_up(8, samples, 0), made_up(8, samples, seed, shift)) == []


def test_two_classes_that_are_exchanged_are_named():
    ones, others = made_up(6, 50, 0), made_up(6, 50, 1, shift=1.0)
    for i, j in combinations(range(6), 2):
        order = list(range(6))
        order[i], order[j] = j, i
        assert interchanged(ones, [others[k] for k in order]) == [(i, j), (j, i)]


def test_classes_that_look_alike_are_not_told_apart():
    alike = [Profile(np.random.default_rng(seed).normal(0, 1, (50, 6))) for seed in range(8)]
    assert interchanged(alike[:4], alike[4:]) == []


def test_classes_with_few_samples_are_left_out():
    one = {str(i): profile for i, profile in enumerate(made_up(3, 9, 0))}
    other = {"0": one["1"], "1": one["0"], "2": one["2"]}
    assert list(other_orders({"a": one, "b": other}, "detection")) == []


def test_a_teacher_that_is_hardly_ever_right_is_named():
    right, wrong, few = [{"depth": (9.0, 10.0)}] * 6, [{"depth": (1.0, 10.0)}] * 6, [{"depth": (0.0, 10.0)}] * 4
    assert list(wrong_teachers(right)) == list(wrong_teachers(few)) == []
    (line,) = wrong_teachers(wrong)
    assert line.startswith("only 10 % of the pseudo labels of depth")


def test_bars_hold_all_values_and_end_where_values_do():
    values = np.random.default_rng(0).lognormal(1, 2, 500)
    shares, edges = doubling(values, least=1e-3, most=1e4)
    assert shares.sum() == pytest.approx(100)
    assert len(edges) == len(shares) + 1
    assert float(edges[0]) <= values.min()
    assert values.max() <= float(edges[-1].replace("k", "e3"))


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_camvid_raises_no_alarm_and_most_pairs_exchanged_do(real_data, tmp_path, monkeypatch, forgotten):
    monkeypatch.setenv("MTL_D2_TEST_DATA", str(real_data))
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, CONFIG, ["MTL.DATA.CACHE", "", "DATALOADER.NUM_WORKERS", "0"])
    findings = look_at_data(cfg, tmp_path, Limits(1, 101, 10))
    assert (findings.refused, findings.warned, findings.all_suspicious()) == ([], [], [])
    train, val = (
        seen.summaries["", "semantic"].profiles for seen in findings.sets if ("", "semantic") in seen.summaries
    )
    names = list(train)
    pairs = list(combinations(range(len(names)), 2))
    exchanged = [[names[{i: j, j: i}.get(k, k)] for k in range(len(names))] for i, j in pairs]
    draw = np.random.default_rng(0)
    shuffled = [list(draw.permutation(names)) for _ in range(50)]
    found = [
        sum(bool(interchanged([train[name] for name in names], [val[name] for name in order])) for order in orders)
        for orders in (exchanged, shuffled)
    ]
    assert found[0] > 0.6 * len(pairs)
    assert found[1] == len(shuffled)
