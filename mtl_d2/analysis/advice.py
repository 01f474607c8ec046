"""Sentences on what to try. Each follows from a rule, and says nothing of what was not measured.

A quantity counts if it is defined in ``ENOUGH`` batches. Intervals are of 95 % confidence, each on its own: of very
many pairs and stages a few miss by chance. What the stages say puts a pair of tasks in one of these classes:

* conflict: at some stage the whole interval of the cosine is below 0, and its mean is at most -``WEAK``;
* undecided: no conflict, but at some stage the interval reaches below -``WEAK``;
* agreement: at every stage the whole interval is above 0, and the mean at least ``WEAK``;
* neutral: none of these, so that no interval reaches below -``WEAK``;
* not measured: no stage counts.

Norms differ where the interval of their ratio over all shared parameters is at or above ``RATIO``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtl_d2.analysis.bootstrap import Estimate
from mtl_d2.analysis.result import ALL, STAGE, Analysis

ENOUGH = 5  # batches: the interval of fewer is not to be trusted
WEAK = 0.05  # a cosine nearer to 0 changes the length of a sum of two gradients by less than 3 %
RATIO = 3.0  # the smaller one of two orthogonal gradients then turns their sum by less than 19 degrees

CONFLICT, UNDECIDED, AGREEMENT, NEUTRAL, UNMEASURED = "conflict", "undecided", "agreement", "neutral", "not measured"

Pair = tuple[str, str]
Stages = list[tuple[str, Estimate]]  # of one pair, in the order in which they are run


def advice(analysis: Analysis) -> list[str]:
    """Sentences on an analysis, those on conflicts first; there is one at least."""
    stages = {pair: measured(analysis, pair) for pair in analysis.pairs}
    classes = {pair: classify(of) for pair, of in stages.items()}
    sentences = [_conflict(pair, stages[pair]) for pair, name in classes.items() if name == CONFLICT]
    norms = list(_norms(analysis))
    alike = _norms_alike(analysis)
    quiet = all(name in (AGREEMENT, NEUTRAL) for name in classes.values())
    if quiet and alike:
        norms = [
            f"No conflict at any stage, and the norms over all shared parameters are within a factor of {RATIO:g}: "
            "balancing has little to gain here."
        ]
    sentences += norms
    agreeing, neutral, open_ = (_of(classes, name) for name in (AGREEMENT, NEUTRAL, UNDECIDED))
    if agreeing:
        spread = _range([e for pair in agreeing for _, e in stages[pair]])
        sentences.append(
            f"At every stage {_listed(agreeing)} agree (cosine {spread}): a small step for one lowers the loss of the "
            "other too."
        )
    if neutral and not (quiet and alike):
        sentences.append(f"Between {_listed(neutral)} there is no conflict at any stage.")
    if open_:
        pair, name, e = min(((p, name, e) for p in open_ for name, e in stages[p]), key=lambda known: known[2].low)
        example = f" of {pair[0]} and {pair[1]}" if len(open_) > 1 else ""
        sentences.append(
            f"Undecided: {_listed(open_)}. At {name} the interval of the cosine{example} reaches from {e.low:.2f} to "
            f"{e.high:.2f}: more batches tell (--batches), about {_batches_needed(e)} to know it to {WEAK}."
        )
    return [*sentences, *_unmeasured(analysis, _of(classes, UNMEASURED))]


def measured(analysis: Analysis, pair: Pair) -> Stages:
    """The stages that count for a pair of tasks."""
    known = [(part.name, analysis.cosines.get((part, *pair))) for part in analysis.at(STAGE)]
    return [(name, e) for name, e in known if e is not None and e.batches >= ENOUGH]


def classify(stages: Stages) -> str:
    """The class of a pair of tasks; see the module."""
    if not stages:
        return UNMEASURED
    if any(opposes(e) for _, e in stages):
        return CONFLICT
    if any(e.low < -WEAK for _, e in stages):
        return UNDECIDED
    return AGREEMENT if all(aligns(e) for _, e in stages) else NEUTRAL


def opposes(cosine: Estimate) -> bool:
    """Whether two gradients work against each other."""
    return cosine.batches >= ENOUGH and cosine.high < 0 and cosine.mean <= -WEAK


def aligns(cosine: Estimate) -> bool:
    """Whether two gradients help each other."""
    return cosine.batches >= ENOUGH and cosine.low > 0 and cosine.mean >= WEAK


def _conflict(pair: Pair, stages: Stages) -> str:
    against = [(name, e) for name, e in stages if opposes(e)]
    names, spread = [name for name, _ in against], _range([e for _, e in against])
    first = next(k for k, (name, _) in enumerate(stages) if name == names[0])
    helped = [name for name, e in stages if aligns(e)]
    but = f", and above 0 at {', '.join(helped)}" if helped else ""
    start = f"The cosine of {pair[0]} and {pair[1]} ({spread}) is below 0 with 95 % confidence "
    if len(against) == len(stages):
        where = f"at every stage ({', '.join(names)})" if len(names) > 1 else f"at {names[0]}"
        return (
            f"{start}{where}: there is no stage to part them at; project (pcgrad, cagrad), or have each image "
            "supervise one of them (STA, ISTA)."
        )
    if names == [name for name, _ in stages[first:]]:
        where = f"from {names[0]} on" if len(names) > 1 else f"at {names[0]}, the last stage"
        return f"{start}{where}{but}: share less from there (layers of their own), or project (pcgrad, cagrad)."
    return f"{start}at {', '.join(names)}{but}: project (pcgrad, cagrad)."


def _norms(analysis: Analysis) -> Iterator[str]:
    """A sentence on the two tasks whose norms differ most, if they do."""
    whole = analysis.at(ALL)[0]
    far = {k: e for k, e in analysis.ratios.items() if k[0] == whole and e.batches >= ENOUGH and e.low >= RATIO}
    if not far:
        return
    _, large, small = max(far, key=lambda key: far[key].mean)
    e = far[whole, large, small]
    of_stages = [analysis.ratios.get((part, large, small)) for part in analysis.at(STAGE)]
    counted = [r for r in of_stages if r is not None and r.batches >= ENOUGH]
    everywhere = bool(counted) and all(r.low >= RATIO for r in counted)
    ends = sorted(r.mean for r in counted)
    stages = f"; {_number(ends[0])} to {_number(ends[-1])} by stage, at least {RATIO:g} at each" if everywhere else ""
    yield (
        f"Over all shared parameters the gradient's norm of {large} is {_number(e.mean)} times that of {small} (95 %: "
        f"{_number(e.low)} to {_number(e.high)}{stages}): in a plain sum of the losses {large} outweighs it; rescale "
        "(uncertainty, imtl_l, achievement, or fixed weights)."
    )


def _norms_alike(analysis: Analysis) -> bool:
    """Whether it is known of all tasks that no norm differs from another by the factor."""
    whole = analysis.at(ALL)[0]
    ratios = [analysis.ratios.get((whole, *pair)) for pair in analysis.pairs]
    return all(e is not None and e.batches >= ENOUGH and e.low > 1 / RATIO and e.high < RATIO for e in ratios)


def _unmeasured(analysis: Analysis, pairs: Sequence[Pair]) -> Iterator[str]:
    few = [pair for pair in pairs if analysis.together[pair] < ENOUGH]
    for a, b in few:
        yield (
            f"Nothing is said of {a} and {b}: they are together in {analysis.together[a, b]} batches, and {ENOUGH} are "
            f"needed ({a} is in {analysis.batches[a]}, {b} in {analysis.batches[b]})."
        )
    apart = [pair for pair in pairs if pair not in few]
    if apart:
        yield f"{_listed(apart).capitalize()} move no part of the network in common in {ENOUGH} batches."


def _batches_needed(e: Estimate) -> str:
    """For an interval of half the width ``WEAK``: widths go with the square root of the number."""
    needed = e.batches * ((e.high - e.low) / 2 / WEAK) ** 2
    return f"{float(f'{needed:.1g}'):.0f}"


def _of(classes: dict[Pair, str], name: str) -> list[Pair]:
    return [pair for pair, of in classes.items() if of == name]


def _listed(pairs: Sequence[Pair]) -> str:
    return ", ".join(f"{a} and {b}" for a, b in pairs)


def _range(cosines: Sequence[Estimate]) -> str:
    means = sorted(e.mean for e in cosines)
    ends = dict.fromkeys((f"{means[0]:.2f}", f"{means[-1]:.2f}"))
    return " to ".join(ends)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
