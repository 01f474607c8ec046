"""The one place where a config becomes strategies."""

from __future__ import annotations

from typing import Any

from mtl_d2.balancing import (
    AGGREGATORS,
    REGULARIZERS,
    ROW_SCALINGS,
    STEPS,
    WEIGHTINGS,
    Balancer,
    GradientStage,
    Scalarization,
    Setup,
    load_methods,
)
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.balancing.registry import MethodRegistry
from mtl_d2.config import AMP_DTYPES, ConfigError, build_setup, method_options
from mtl_d2.data.allocation import ALLOCATIONS, Allocation
from mtl_d2.method_name import describe_method
from mtl_d2.parallel.all_ranks import make_reduction
from mtl_d2.parallel.reduction import Reduction


def build_balancer(cfg: Any) -> Balancer:
    """The balancer of ``cfg.MTL``, which ``check_mtl_config`` has found to make sense."""
    load_methods()
    setup, mtl = build_setup(cfg), cfg.MTL
    stage = GradientStage(
        _build(ROW_SCALINGS, mtl.GRADIENT.RESCALE, mtl.GRADIENT, setup),
        _build(AGGREGATORS, mtl.GRADIENT.AGGREGATOR, mtl.GRADIENT, setup),
        mtl.GRADIENT.SCALE,
        setup.num_tasks,
        mtl.GRADIENT.HEADS,
        mtl.GRADIENT.SMOOTH,
    )
    weighting = _build(WEIGHTINGS, mtl.SCALARIZATION.NAME, mtl.SCALARIZATION, setup)
    return Balancer(
        setup,
        Scalarization(weighting, mtl.SCALARIZATION.MEAN),
        stage,
        _build(STEPS, mtl.STEP.NAME, mtl.STEP, setup),
        _build(REGULARIZERS, mtl.REGULARIZER.NAME, mtl.REGULARIZER, setup),
        max(cfg.SEED, 0),
        mtl.GRADIENT.LEVEL,
        mtl.GRADIENT.EXACT_EVERY,
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


def build_reduction(communication: str = "auto") -> Reduction:
    """The collectives for as many processes as there are.

    Args:
        communication: ``MTL.COMMUNICATION``.

    Raises:
        ConfigError: the backend cannot do what is asked for.
    """
    try:
        return make_reduction(communication)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _build(registry: MethodRegistry, name: str, node: Any, setup: Setup) -> Any:
    """The method of the registry, with its options from the config; None for no name."""
    if not name:
        return None
    method = registry.get(name)
    return method(setup, **method_options(node, name, method))


def method_name(cfg: Any) -> str:
    """The name of a run's method for tables, such as ``mclgs (a0 5.0) + mean``."""
    return describe_method(cfg.MTL)
