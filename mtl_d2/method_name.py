"""What a run's method is called, by its config: what the update was, and how it was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.balancing.interfaces import Aggregator, Strategy
from mtl_d2.balancing.registry import MethodRegistry
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.options import defaults

CHOICES: tuple[tuple[str, str, MethodRegistry], ...] = (
    ("ALLOCATION", "NAME", ALLOCATIONS),
    ("SCALARIZATION", "NAME", WEIGHTINGS),
    ("GRADIENT", "RESCALE", ROW_SCALINGS),
    ("GRADIENT", "AGGREGATOR", AGGREGATORS),
    ("REGULARIZER", "NAME", REGULARIZERS),
    ("STEP", "NAME", STEPS),
)
PLAIN = ("full", "fixed", "joint")  # not worth a word where their options are the defaults
# Keys beside a choice that change what it does, with the values that do not.
BESIDE: dict[str, dict[str, Any]] = {
    "SCALARIZATION.NAME": {"MEAN": "arithmetic"},
    "GRADIENT.AGGREGATOR": {"SCALE": "method", "HEADS": "method", "LEVEL": "all", "SMOOTH": 0.0},
}


def describe_method(mtl: Mapping[str, Any]) -> str:
    """A name for tables: the choices that are not the plainest, with the options that are not the defaults.

    ``mclgs (a0 5.0) + mean``. Where options make another method of it, that one comes first: MCLGS with a0 = 0 at the
    scale of a sum is ``sum, set as mclgs (a0 0.0) + mean (scale sum)``.

    Args:
        mtl: the config's node ``MTL``, or what a YAML file has in its place; what it lacks is left out.
    """
    load_methods()
    parts = list(_parts(mtl))
    literal = " + ".join(text for text, _ in parts if text)
    acting = " + ".join(text for _, text in parts if text)
    return literal if acting == literal else f"{acting}, set as {literal}"


def _parts(mtl: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """For each choice its name with options as it was set, and as it acts; "" where there is nothing to say."""
    scaled = False
    for branch, key, registry in CHOICES:
        node = mtl.get(branch)
        name = node.get(key) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(name, str) or not name:
            continue
        method = registry.get(name) if name in registry else None
        usual = {} if method is None else defaults(method.options)
        values = _values(node, name, usual)
        options = [f"{k} {shown(v)}" for k, v in values.items() if v != _plain(usual[k])]
        beside = BESIDE.get(f"{branch}.{key}", {})
        extras = [f"{k.lower()} {node[k]}" for k, plain in beside.items() if node.get(k, plain) != plain]
        text = f"{name} ({', '.join([*options, *extras])})" if options or extras else "" if name in PLAIN else name
        acting = text
        if isinstance(method, type) and issubclass(method, Strategy) and method.is_neutral(values) and not extras:
            acting = ""
        elif _is_constant(method) and not scaled:  # the rows' weights are all 1, or all 1 / T
            acting = name if node.get("SCALE", "method") == "method" else node["SCALE"]
        scaled |= registry is ROW_SCALINGS and bool(acting)
        yield text, acting


def _is_constant(method: Any) -> bool:
    """Whether it is an aggregator that gives all rows one weight, whatever they are."""
    known = isinstance(method, type) and issubclass(method, Aggregator)
    return known and method.constant is not Aggregator.constant


def _values(node: Mapping[str, Any], name: str, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The method's options by name, the default where the config has none."""
    given = node.get(name.upper())
    given = given if isinstance(given, Mapping) else {}
    return {key: _plain(given.get(key.upper(), default)) for key, default in usual.items()}


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no others."""
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A config value for people: a list as one, its words without quotes."""
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) else str(value)
