"""The section on what updates are made of: data sets, tasks and pairs of tasks."""

from __future__ import annotations

import pandas as pd

from mtl_d2.inspection.draws import Draws
from mtl_d2.inspection.findings import Findings
from mtl_d2.inspection.labels.base import share
from mtl_d2.inspection.labels.object_page import shaded
from mtl_d2.report.markup import Section, paragraph, table

SELDOM = 0.5  # share of updates


def mixture_section(findings: Findings) -> Section | None:
    """Tables of what was drawn; None where nothing could be."""
    draws = findings.data.draws
    if draws is None or not draws.updates:
        return None
    cfg = findings.cfg
    text = (
        f"The first {draws.updates} of {cfg.SOLVER.MAX_ITER} updates, each of a mini-batch of "
        f"{cfg.SOLVER.IMS_PER_BATCH} samples, as the sampler and the allocation {cfg.MTL.ALLOCATION.NAME!r} draw them. "
        "No picture is read for it: a label that a crop leaves nothing of counts. "
    )
    text += (
        f"SEED {cfg.SEED} gives just these."
        if cfg.SEED >= 0
        else "SEED is drawn anew by each start; these are of seed 0."
    )
    body = paragraph(text) + _sets(findings, draws) + _pairs(findings, draws)
    return Section("updates", "What updates are made of", body)


def _sets(findings: Findings, draws: Draws) -> str:
    sizes = {name: len(s.data_set.records) for s in findings.sets for name in [s.name]}
    total = sum(draws.drawn.values())
    rows = {}
    for i, name in enumerate(findings.cfg.DATASETS.TRAIN):
        number = sizes.get(name, 0)
        rows[f"{name} (again)" if name in rows else name] = [
            f"{number:,}",
            share(draws.drawn[i], total),
            f"{draws.drawn[i] / max(number, 1):.3g}",
        ]
    columns = ["images", "share of samples", f"epochs in {draws.updates} updates"]
    return table(pd.DataFrame.from_dict(rows, orient="index", columns=columns), corner="data set")


def _pairs(findings: Findings, draws: Draws) -> str:
    tasks = [str(task) for task in findings.cfg.MTL.TASKS]
    cells = [
        [shaded(f"{100 * draws.share(one, other):.3g} %", draws.share(one, other)) for other in tasks]
        + [f"{draws.samples[one] / draws.updates:.3g}"]
        for one in tasks
    ]
    text = (
        "Share of updates that two tasks have together; on the diagonal, that have the task. Beside it, how many "
        "samples of an update it has, on average."
    )
    frame = pd.DataFrame(cells, index=tasks, columns=[*tasks, "samples in an update"])
    return paragraph(text) + table(frame, corner="task")


def notable_draws(findings: Findings) -> list[str]:
    """A sentence for what an update hardly ever has."""
    draws = findings.data.draws
    if draws is None or not draws.updates:
        return []
    tasks = [str(task) for task in findings.cfg.MTL.TASKS]
    lines = []
    never = [name for i, name in enumerate(findings.cfg.DATASETS.TRAIN) if not draws.drawn[i]]
    if never:
        lines.append(f"none of the {draws.updates} updates drawn has an image of {', '.join(never)}")
    seldom = [task for task in tasks if 0 < draws.share(task, task) < SELDOM]
    if seldom and findings.cfg.MTL.ALLOCATION.NAME == "full":
        shares = ", ".join(f"{task!r} is in {100 * draws.share(task, task):.3g} %" for task in seldom)
        lines.append(f"of updates, {shares}: MTL.DATA.PER_DATASET gives each mini-batch its share of every data set")
    apart = [
        f"{one!r} and {other!r}" for i, one in enumerate(tasks) for other in tasks[i + 1 :]
        if not draws.share(one, other) and draws.share(one, one) and draws.share(other, other)
    ]  # fmt: skip
    if apart:
        lines.append(f"{'; '.join(apart[:4])} are never in one update: their gradients are never compared")
    if draws.alone:
        lines.append(f"{draws.alone} of {draws.updates} updates have no label at all, and change nothing")
    return lines
