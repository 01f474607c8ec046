"""What ``benchmark.py --all-methods`` compares: every aggregator, and what it takes to weigh and add task gradients."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from benchmark_models import Setting
from benchmark_variants import MCLGS, Bench, Variant, build_cfg
from torch import Tensor

from mtl_d2.balancing import AGGREGATORS, Balancer, Oracle, load_methods
from mtl_d2.balancing.exact.rows import gramian
from mtl_d2.balancing.interfaces import Aggregator, Gradients
from mtl_d2.engine.build import build_balancer
from mtl_d2.options import defaults

TASK_COUNTS = (2, 3)
SOLVER_ROUNDS = 3  # for each round of updates: this part is short
WARM_UP = 2
CONFLICT = 0.4  # of the first row that the others lose: opposed rows give solvers more to do
# Otherwise they would be one ordinary backward pass, which no other method can do with.
EXACT = ["MTL.GRADIENT.RESCALE", "mclgs", "MTL.GRADIENT.MCLGS.A0", "0.0"]
Shares = dict[str, dict[str, float]]


def list_methods() -> dict[str, Variant]:
    """Every aggregator on the exact path, and MCLGS in front of two of them; all compared with ``mean``."""
    load_methods()
    methods = {}
    for name in (
        "mean",
        *(name for name, method in sorted(AGGREGATORS) if name != "mean" and not asks_for_more(method)),
    ):
        constant = AGGREGATORS.get(name).constant is not Aggregator.constant
        rescale = EXACT if constant else ["MTL.GRADIENT.RESCALE", ""]
        about = f"{name}, exact path by MCLGS with A0 0" if constant else name
        methods[name] = Variant(about, "mean", overrides=[*rescale, "MTL.GRADIENT.AGGREGATOR", name])
    for name in ("mean", "cagrad"):
        overrides = [*MCLGS, "MTL.GRADIENT.AGGREGATOR", name]
        methods[f"mclgs+{name}"] = Variant(f"MCLGS, then {name}", "mean", overrides=overrides)
    return methods


def asks_for_more(method: type[Aggregator]) -> bool:
    """Whether it takes metrics of evaluations, which a benchmark has none of: what is left of it is another's."""
    return method.needs_evaluation(defaults(method.options))


METHODS = list_methods()


def measure_shares(bench: Bench, names: Sequence[str], rounds: int, update_s: float) -> Shares:
    """What each method needs beyond the exact gradients, and beyond ``mean``, as a share of an update.

    Args:
        bench: holds the model whose shared parameters give the gradients' shapes.
        names: keys of ``METHODS``, ``mean`` among them.
        rounds: rounds of updates that this goes with.
        update_s: CPU seconds (on a GPU: wall seconds) of an update with ``mean``.
    """
    shares: Shares = {name: {} for name in names}
    shapes = [parameter.shape for parameter in Oracle(bench.model).shared]
    for count in TASK_COUNTS:
        seconds = measure_solver(bench.setting, shapes, count, names, SOLVER_ROUNDS * rounds)
        for name in names:
            more = statistics.median(a - b for a, b in zip(seconds[name], seconds["mean"], strict=True))
            shares[name][f"weigh_s_t{count}"] = statistics.median(seconds[name])
            shares[name][f"more_s_t{count}"] = more
            shares[name][f"share_t{count}"] = more / update_s
    return shares


def measure_solver(
    setting: Setting, shapes: Sequence[torch.Size], count: int, names: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of Gramian, weights and weighted sum in each round, by method, for ``count`` made-up task gradients."""
    rows = make_rows(shapes, count, setting.device)
    balancers = {name: build_method(setting, name, count) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(WARM_UP + rounds):
        first = round_number % len(names)  # nobody always follows the same one
        for name in (*names[first:], *names[:first]):
            start = read_clock(setting.device)
            weigh_and_combine(balancers[name], rows, round_number)
            if round_number >= WARM_UP:
                seconds[name].append(read_clock(setting.device) - start)
    return seconds


def weigh_and_combine(balancer: Balancer, rows: Sequence[Gradients], update: int) -> Gradients:
    """The direction for rows that are there: what an update does between the backward passes and the optimizer."""
    count = len(rows)
    context = balancer.context(torch.ones(count, dtype=torch.float64), torch.ones(count, dtype=torch.bool), update)
    kept = [list(row) for row in rows]  # combining empties them
    weights = balancer.gradient(gramian(kept).cpu(), context)
    return balancer.gradient.combine(kept, weights.shared.tolist(), context)


def build_method(setting: Setting, name: str, count: int) -> Balancer:
    """The balancer of a method for ``count`` tasks, of which a model need not have as many."""
    cfg = build_cfg(setting, METHODS[name].overrides or [])
    cfg.MTL.GRADIENT.SCALE = "method"
    cfg.MTL.TASKS = tuple(f"task{i}" for i in range(count))
    cfg.MTL.GRADIENT.SCALE = "method"
    return build_balancer(cfg)


def make_rows(shapes: Sequence[torch.Size], count: int, device: str) -> list[Gradients]:
    """``count`` random rows of different lengths, the first in conflict with all others."""
    generator = torch.Generator().manual_seed(2)
    rows: list[Gradients] = [[] for _ in range(count)]
    for shape in shapes:
        draws = [torch.randn(shape, generator=generator) for _ in rows]
        for i, row in enumerate(rows):
            value: Tensor = draws[i] if i == 0 else (draws[i] - CONFLICT * draws[0]) * (1 + i)
            row.append(value.to(device))
    return rows


def pick_clock(device: str) -> str:
    """Which time counts: that of all threads, or, where a GPU works beside them, that of the wall."""
    return "wall" if device == "cuda" else "cpu"


def read_clock(device: str) -> float:
    """Seconds of that time; on a GPU, once it has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def format_methods(results: dict[str, dict[str, Any]], clock: str) -> str:
    """A Markdown table; shares and ratios, in bold, are relative to ``mean``.

    Args:
        results: by method, of times, memory and ``measure_shares``.
        clock: "cpu" or "wall", which of an update's times is shown.
    """
    columns = [(f"T = {t}: ms", f"weigh_s_t{t}", 1e3, "{:.0f}") for t in TASK_COUNTS]
    columns += [(f"T = {t}: share more", f"share_t{t}", 100, "**{:+.2f} %**") for t in TASK_COUNTS]
    columns = sorted(columns, key=lambda column: column[0][:5])
    columns += [(f"update: {clock} s", f"{clock}_s", 1, "{:.3f}"), ("ratio", f"{clock}_ratio", 1, "{:.3f}")]
    columns += [("peak MiB", "peak_mib", 1, "{:.0f}"), ("ratio", "peak_ratio", 1, "**{:.3f}**")]
    shown = [column for column in columns if any(column[1] in found for found in results.values())]
    lines = [["method", *(title for title, *_ in shown)], ["---"] + ["---:"] * len(shown)]
    for name, found in results.items():
        lines.append([f"`{name}`", *(style.format(found[key] * unit) for _, key, unit, style in shown)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
