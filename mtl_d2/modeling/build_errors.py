"""What is raised while a model is built, in the words of its config."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.config import get_cfg

from mtl_d2.config import ConfigError, add_mtl_config, leaves


@contextmanager
def said_of_keys(cfg: Any) -> Iterator[None]:
    """What detectron2 and torch raise while a model is built names the keys whose values they speak of.

    Raises:
        ConfigError: in place of their errors.
    """
    try:
        yield
    except ConfigError:
        raise
    except (
        KeyError,
        ValueError,
        TypeError,
        AssertionError,
        AttributeError,
        IndexError,
        RuntimeError,
        ArithmeticError,
    ) as error:
        told = str(error) or traceback.extract_tb(error.__traceback__)[-1].line  # an assertion says what it asserts
        words = set(re.findall(r"[\w.-]+", told or ""))
        keys = [f"{key} {value!r}" for key, value in _set_below_model(cfg) if words & _words(value)]
        whose = f"look at {', '.join(keys)}" if keys else "look at the keys of its parts, and at what was changed last"
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE!r} cannot be built from the keys below MODEL "
            f"({type(error).__name__}: {told}): {whose}"
        ) from error


def _set_below_model(cfg: Any) -> list[tuple[str, Any]]:
    """The keys of ``MODEL`` that are not at their default."""
    defaults = get_cfg()
    add_mtl_config(defaults)
    known = dict(leaves(defaults))
    return [(key, value) for key, value in leaves(cfg) if key.startswith("MODEL.") and value != known.get(key)]


def _words(value: Any) -> set[str]:
    """Of a config's value, those that would be known again in a sentence."""
    values = value if isinstance(value, list | tuple) else [value]
    return {
        str(item) for item in values if isinstance(item, str | int) and len(str(item)) > 1 and item not in (True, False)
    }
