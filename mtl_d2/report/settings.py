"""The section of what a run was: the five choices, solver, data and versions."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

import mtl_d2
from mtl_d2.method_name import describe_method, shown
from mtl_d2.optimizers import keys_without_argument
from mtl_d2.report.markup import Section, folded, missing, paragraph, table
from mtl_d2.report.run import Run

NONE = "–"
PACKAGES = ("detectron2", "torch", "torchvision", "numpy", "opencv-python-headless", "opencv-python")


def method_of(run: Run) -> str:
    """The name of a run's method by its config; "" if that does not say."""
    node = run.setting("MTL")
    try:
        return describe_method(node) if isinstance(node, dict) else ""
    except (TypeError, ValueError, KeyError, AttributeError):  # options that no run was started with
        return ""


def settings_section(run: Run) -> Section:
    """The five choices, solver, data and versions, with the whole config folded below."""
    if not run.config:
        body = missing("config.yaml is missing or broken, so the settings of this run are unknown.")
    else:
        body = table(pd.Series(dict(_settings(run))).map(escape).to_frame("value"), numeric=False)
    versions = ", ".join(f"{name} {version}" for name, version in _versions())
    body += paragraph(f"Versions where this report was written: {versions}.")
    if run.config_text:
        body += folded("The whole config.yaml", f"<pre>{escape(run.config_text)}</pre>")
    return Section("settings", "Settings", body)


def _settings(run: Run) -> Iterable[tuple[str, str]]:
    yield "Tasks", _text(run.setting("MTL.TASKS"))
    yield "Method", method_of(run) or NONE
    yield "Allocation", _choice(run, "ALLOCATION.NAME") or NONE
    yield "Scalarization", _choice(run, "SCALARIZATION.NAME") or NONE
    gradient = [_choice(run, f"GRADIENT.{key}") for key in ("RESCALE", "AGGREGATOR")]
    yield "Gradient", ", then ".join(filter(None, gradient)) or NONE
    yield "Regularizer", _choice(run, "REGULARIZER.NAME") or "none"
    yield "Step", _choice(run, "STEP.NAME") or NONE
    model, device = run.setting("MODEL.META_ARCHITECTURE", NONE), run.setting("MODEL.DEVICE", NONE)
    trunk = " ".join(str(run.setting(key, "")) for key in ("MODEL.BACKBONE.NAME", "MODEL.TIMM.NAME")).strip() or NONE
    yield "Model", f"{model}, trunk {trunk}, on {device}"
    yield "Weights at the start", str(run.setting("MODEL.WEIGHTS") or "random")
    solver = {key: _text(value) for key, value in _mapping(run.setting("SOLVER")).items()}
    words = {
        "MAX_ITER": "updates", "IMS_PER_BATCH": "images in each", "BASE_LR": "learning rate", "STEPS": "steps",
        "WARMUP_ITERS": "warm-up", "MOMENTUM": "momentum", "WEIGHT_DECAY": "weight decay",
    }  # fmt: skip
    factor = run.setting("SOLVER.BACKBONE_LR_FACTOR", 1.0)
    if factor != 1:
        solver["BASE_LR"] = f"{solver.get('BASE_LR', NONE)}, {factor} times that in the trunk"
    optimizer = str(run.setting("MTL.OPTIMIZER", ""))
    unused = keys_without_argument(optimizer) if optimizer else ()
    told = [f"{what} {solver.get(key, NONE)}" for key, what in words.items() if key not in unused]
    yield "Solver", ", ".join([*([optimizer] if optimizer else []), *told])
    augmentations = run.setting("INPUT.AUGMENTATIONS")
    if augmentations:
        yield "Augmentations", _text(augmentations)
    yield "Training data", _text(run.setting("DATASETS.TRAIN"))
    yield "Test data", _text(run.setting("DATASETS.TEST"))
    yield "Seed", str(run.setting("SEED", NONE))


def _choice(run: Run, key: str) -> str:
    """A chosen strategy with its own parameters: the config node beside it that has its name, if there is one."""
    name = run.setting(f"MTL.{key}", "")
    if not name or not isinstance(name, str):
        return str(name)
    options = _mapping(run.setting(f"MTL.{key.rpartition('.')[0]}.{name.upper()}"))
    given = [f"{key.lower()} {shown(value)}" for key, value in options.items() if value not in (None, "", [], ())]
    return f"{name} ({', '.join(given)})" if given else name


def _text(value: Any) -> str:
    return NONE if value is None else shown(value)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _versions() -> Iterable[tuple[str, str]]:
    yield "mtl_d2", mtl_d2.__version__
    yield "Python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
