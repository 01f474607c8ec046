"""The one place where a config becomes strategies."""

from __future__ import annotations

from typing import Any

from mtl_d2.balancing import AGGREGATORS, ROW_SCALINGS, STEPS, WEIGHTINGS, Balancer, load_methods
from mtl_d2.balancing.base import GradientStage, Scalarization, Setup, Strategy
from mtl_d2.balancing.build import MethodRegistry
from mtl_d2.config import build_setup, method_options


def build_balancer(cfg: Any) -> Balancer:
    """The balancer of ``cfg.MTL``, which ``check_mtl_config`` has found to make sense."""
    load_methods()
    setup = build_setup(cfg)
    gradient = cfg.MTL.GRADIENT
    scaling = _build(ROW_SCALINGS, gradient.RESCALE, gradient, setup) if gradient.RESCALE else None
    stage = GradientStage(
        scaling,  # type: ignore[arg-type]  # the registry holds row scalings only
        _build(AGGREGATORS, gradient.AGGREGATOR, gradient, setup),  # type: ignore[arg-type]
        gradient.SCALE,
        setup.num_tasks,
        gradient.HEADS,
    )
    weighting = _build(WEIGHTINGS, cfg.MTL.SCALARIZATION.NAME, cfg.MTL.SCALARIZATION, setup)
    scalarization = Scalarization(weighting, cfg.MTL.SCALARIZATION.MEAN == "geometric")  # type: ignore[arg-type]
    step = _build(STEPS, cfg.MTL.STEP.NAME, cfg.MTL.STEP, setup)
    return Balancer(setup, scalarization, stage, step, max(cfg.SEED, 0))  # type: ignore[arg-type]


def _build(registry: MethodRegistry, name: str, node: Any, setup: Setup) -> Strategy:
    method = registry.get(name)
    return method(setup, **method_options(node, name, method))


def method_name(cfg: Any) -> str:
    """A short name of a run's method for tables, such as ``mclgs + mean``."""
    gradient = cfg.MTL.GRADIENT
    return " + ".join(part for part in (gradient.RESCALE, gradient.AGGREGATOR) if part)
