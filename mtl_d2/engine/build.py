"""The one place where a config becomes strategies."""

from __future__ import annotations

from typing import Any

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, Balancer, load_methods
from mtl_d2.balancing.base import Setup
from mtl_d2.balancing.build import MethodRegistry
from mtl_d2.balancing.precision import Precision
from mtl_d2.balancing.strategies import GradientStage, Scalarization, Strategy
from mtl_d2.config import AMP_DTYPES, build_setup, method_options
from mtl_d2.data.allocation import ALLOCATIONS, Allocation
from mtl_d2.method_name import describe_method


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
    regularizer = None
    if cfg.MTL.REGULARIZER.NAME:
        regularizer = _build(REGULARIZERS, cfg.MTL.REGULARIZER.NAME, cfg.MTL.REGULARIZER, setup)
    step = _build(STEPS, cfg.MTL.STEP.NAME, cfg.MTL.STEP, setup)
    return Balancer(
        setup,
        scalarization,
        stage,
        step,  # type: ignore[arg-type]
        regularizer,  # type: ignore[arg-type]
        max(cfg.SEED, 0),
        gradient.LEVEL,
        gradient.EXACT_EVERY,
    )


def build_precision(cfg: Any) -> Precision:
    """The precision of the forward passes."""
    return Precision(AMP_DTYPES[cfg.MTL.AMP_DTYPE] if cfg.SOLVER.AMP.ENABLED else None)


def build_allocation(cfg: Any) -> Allocation:
    """The allocation of ``cfg.MTL``, at the beginning of the stream."""
    name = cfg.MTL.ALLOCATION.NAME
    method = ALLOCATIONS.get(name)
    options = method_options(cfg.MTL.ALLOCATION, name, method)
    return method(build_setup(cfg), cfg.SOLVER.IMS_PER_BATCH, max(cfg.SEED, 0), **options)


def _build(registry: MethodRegistry, name: str, node: Any, setup: Setup) -> Strategy:
    method = registry.get(name)
    return method(setup, **method_options(node, name, method))


def method_name(cfg: Any) -> str:
    """The name of a run's method for tables, such as ``mclgs (a0 5.0) + mean``."""
    return describe_method(cfg.MTL)
