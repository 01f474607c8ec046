"""Sentences on made-up numbers."""

import math
from itertools import combinations, permutations

import pytest

from mtl_d2.analysis import Analysis, Estimate, Part, advice

STAGES = ("stem", "res4", "res5")
WHOLE = Part("all", "all shared parameters", "", 6)


def estimate(mean, spread=0.02, batches=16):
    return Estimate(mean, mean - spread, mean + spread, batches)


def made_up(cosines, norms=(), spread=0.02, batches=16):
    """An analysis with ``cosines`` {(a, b): one for each stage or None}, and norms of all tasks at all parts."""
    tasks = tuple(dict.fromkeys(task for pair in cosines for task in pair))
    norms = dict(zip(tasks, norms or [1.0] * len(tasks), strict=True))
    parts = (WHOLE, *(Part("stage", name, name, 2) for name in STAGES))
    pairs = {
        (part, *pair): estimate(value, spread, batches)
        for pair, values in cosines.items()
        for part, value in zip(parts[1:], values, strict=True)
        if value is not None
    }
    ratios = {
        (part, a, b): Estimate(norms[a] / norms[b], 0.9 * norms[a] / norms[b], 1.1 * norms[a] / norms[b], batches)
        for part in parts
        for a, b in permutations(tasks, 2)
    }
    return Analysis(
        tasks,
        parts,
        dict.fromkeys(tasks, 16),
        dict.fromkeys(combinations(tasks, 2), batches),
        pairs,
        {(part, task): estimate(norm, 0.1 * norm) for part in parts for task, norm in norms.items()},
        ratios,
    )


def said(values, **kwargs):
    return advice(made_up({("detection", "semantic"): values}, **kwargs))


def test_a_conflict_from_a_stage_on_is_to_be_parted_there():
    (sentence,) = said((0.2, -0.1, -0.3))
    assert "below 0 with 95 % confidence from res4 on, and above 0 at stem" in sentence
    assert "(-0.30 to -0.10)" in sentence
    assert "layers of their own" in sentence


def test_a_conflict_at_the_last_stage_is_said_to_be_there():
    (sentence,) = said((0.0, 0.0, -0.3))
    assert "(-0.30) is below 0 with 95 % confidence at res5, the last stage: share less from there" in sentence


def test_a_conflict_at_every_stage_cannot_be_parted():
    (sentence,) = said((-0.2, -0.1, -0.3))
    assert "at every stage (stem, res4, res5)" in sentence
    assert "layers of their own" not in sentence
    assert "STA" in sentence


def test_a_conflict_at_early_stages_alone_is_projected():
    (sentence,) = said((-0.2, 0.0, 0.0))
    assert "below 0 with 95 % confidence at stem: project" in sentence


@pytest.mark.parametrize(
    ("mean", "spread"), [pytest.param(-0.04, 0.005, id="weak"), pytest.param(-0.3, 0.31, id="uncertain")]
)
def test_what_is_weak_or_uncertain_is_no_conflict(mean, spread):
    assert not any("below 0 with" in sentence for sentence in said((mean, mean, mean), spread=spread))


def test_an_interval_that_reaches_far_below_zero_is_undecided():
    (sentence,) = said((0.0, 0.1, 0.0), spread=0.2)
    assert sentence.startswith(
        "Undecided: detection and semantic. At stem the interval of the cosine reaches from -0.20"
    )


def test_without_conflict_and_with_like_norms_there_is_little_to_gain():
    (sentence,) = said((0.0, 0.01, 0.02))
    assert "balancing has little to gain" in sentence


def test_agreement_is_said_beside():
    sentences = said((0.3, 0.1, 0.2))
    assert "little to gain" in sentences[0]
    assert "detection and semantic agree (cosine 0.10 to 0.30)" in sentences[1]


def test_large_norms_are_rescaled_and_balancing_is_not_called_useless():
    sentences = said((0.0, 0.0, 0.0), norms=(14.0, 1.0))
    assert "norm of detection is 14 times that of semantic (95 %: 13 to 15; 14 to 14 by stage" in sentences[0]
    assert "imtl_l" in sentences[0]
    assert not any("little to gain" in sentence for sentence in sentences)


def test_norms_whose_ratio_is_undecided_are_not_called_alike():
    sentences = said((0.0, 0.0, 0.0), norms=(2.9, 1.0))  # up to 3.19
    assert not any("little to gain" in sentence or "times that" in sentence for sentence in sentences)


def test_nothing_is_said_of_tasks_that_are_seldom_together():
    cosines = {("a", "b"): (-0.5, -0.5, -0.5)}
    (sentence,) = advice(made_up(cosines, batches=4))
    assert "Nothing is said of a and b: they are together in 4 batches" in sentence


def test_tasks_that_move_nothing_in_common_are_said_to():
    sentences = said((None, None, None))
    assert "detection and semantic move no part of the network in common" in sentences[0].lower()
    assert not any("little to gain" in sentence for sentence in sentences)


def test_each_pair_has_its_own_class():
    cosines = {("a", "b"): (-0.2,) * 3, ("a", "c"): (0.3,) * 3, ("b", "c"): (0.0,) * 3}
    conflict, agreement, neutral = advice(made_up(cosines))
    assert "of a and b" in conflict
    assert "At every stage a and c agree" in agreement
    assert neutral == "Between b and c there is no conflict at any stage."


def test_an_interval_of_one_batch_proves_nothing():
    analysis = made_up({("a", "b"): (None, None, None)})
    one = {(part, "a", "b"): Estimate(-0.9, math.nan, math.nan, 1) for part in analysis.parts}
    few = Analysis(analysis.tasks, analysis.parts, {"a": 1, "b": 1}, {("a", "b"): 1}, one, {}, {})
    assert advice(few) == [
        "Nothing is said of a and b: they are together in 1 batches, and 5 are needed (a is in 1, b in 1)."
    ]
