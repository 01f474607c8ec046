"""The keys that mtl_d2 adds to a detectron2 config; ``config_check`` says whether they make sense together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, Setup, load_methods
from mtl_d2.balancing.build import MethodRegistry
from mtl_d2.balancing.strategies import Strategy
from mtl_d2.data.allocation import ALLOCATIONS, Allocation

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class ConfigError(ValueError):
    """A config that cannot be trained; the message lists every mistake that was found."""


def add_mtl_config(cfg: CfgNode) -> None:
    """Adds the keys of mtl_d2 with their defaults to a detectron2 config, in place."""
    load_methods()
    cfg.MTL = CfgNode()
    # The tasks, in the order of all weights and logs. Known: see mtl_d2/tasks.py.
    cfg.MTL.TASKS = ("detection", "semantic")
    # Updates between two rows of metrics.json and TensorBoard. The console has one every 20 updates.
    cfg.MTL.LOG_PERIOD = 20
    # Data type of the forward passes where SOLVER.AMP.ENABLED: "float16" (detectron2's), with a loss scale, or
    # "bfloat16", which has the range of float32 and needs none. Parameters, Gramian and weights keep their precision.
    cfg.MTL.AMP_DTYPE = "float16"
    # K >= 1: each process's share of SOLVER.IMS_PER_BATCH crosses the network in so many parts, one after the other in
    # memory, and the update is that of the whole batch; see docs/precision_and_memory.md.
    cfg.MTL.ACCUMULATE = 1
    # Keep convolution weights and activations with channels last in memory: the same values, faster on some GPUs.
    cfg.MTL.CHANNELS_LAST = False
    # Compile the trunk with torch.compile; needs a C++ compiler on a CPU, Triton on a GPU. The first updates take
    # minutes.
    cfg.MTL.COMPILE = False

    cfg.MTL.DATA = CfgNode()
    # How many samples of each data set of DATASETS.TRAIN a global batch holds; must add up to SOLVER.IMS_PER_BATCH.
    # Empty: one shuffled pass an epoch over the union of the data sets.
    cfg.MTL.DATA.PER_TASK = ()
    # Share in [0, 1) of the images of each data set of DATASETS.TRAIN that is kept from training. Weightings that look
    # at accuracies get those on these images, every TEST.EVAL_PERIOD updates; never those on the test sets.
    cfg.MTL.DATA.VALIDATION_SHARE = 0.0
    # Python files that register data sets of your own; executed once, before anything is built.
    cfg.MTL.DATA.MODULES = ()

    cfg.MTL.ALLOCATION = CfgNode()
    # Which tasks supervise which sample: "full" is every task that the sample has a label for. "sta", "ista" and "gap"
    # draw K of them (the size of the paper's tau); see docs/allocation.md.
    cfg.MTL.ALLOCATION.NAME = "full"
    _add_options(cfg.MTL.ALLOCATION, ALLOCATIONS)

    cfg.MTL.SCALARIZATION = CfgNode()
    # How the task losses become one number S.
    cfg.MTL.SCALARIZATION.NAME = "fixed"
    # "arithmetic": S = sum w_i L_i, or "geometric": S = prod L_i^w_i with weights that add up to 1.
    cfg.MTL.SCALARIZATION.MEAN = "arithmetic"
    # Learning rate of the weighting's own parameters, where it has any, as a multiple of SOLVER.BASE_LR.
    cfg.MTL.SCALARIZATION.LR_FACTOR = 1.0
    _add_options(cfg.MTL.SCALARIZATION, WEIGHTINGS)

    cfg.MTL.GRADIENT = CfgNode()
    # Factor on each task's gradient before they are combined: "" for none, or "mclgs".
    cfg.MTL.GRADIENT.RESCALE = ""
    # How the task gradients become one direction.
    cfg.MTL.GRADIENT.AGGREGATOR = "sum"
    # Scale of the direction: "method" as the method has it, "sum" or "mean" times T or 1/T, so that a learning rate
    # tuned for one method fits another.
    cfg.MTL.GRADIENT.SCALE = "method"
    # What heads are multiplied by: "method" as the method has it (a constant for all), "weights" the rows' weights.
    cfg.MTL.GRADIENT.HEADS = "method"
    # What the Gramian that the weights come from is taken of: "all" shared parameters; the "last_layer" of them; the
    # "features", which costs one backward pass in all and is an approximation no better than a constant: see docs.
    cfg.MTL.GRADIENT.LEVEL = "all"
    # At level "features": take the exact gradients as well every so many updates and log their cosines. 0: never.
    cfg.MTL.GRADIENT.EXACT_EVERY = 0
    _add_options(cfg.MTL.GRADIENT, ROW_SCALINGS)
    _add_options(cfg.MTL.GRADIENT, AGGREGATORS)

    cfg.MTL.REGULARIZER = CfgNode()
    # What is added to the objective: "" for nothing, or "cosreg".
    cfg.MTL.REGULARIZER.NAME = ""
    _add_options(cfg.MTL.REGULARIZER, REGULARIZERS)
    # Modules of the last shared layer (CosReg, GradNorm). Empty: the output convolutions of the pyramid levels that
    # two tasks or more look at.
    cfg.MTL.LAST_SHARED_LAYER = ()

    cfg.MTL.STEP = CfgNode()
    # Where gradients are taken, and in which order the parameters move.
    cfg.MTL.STEP.NAME = "joint"
    _add_options(cfg.MTL.STEP, STEPS)

    _add_model_config(cfg)


def _add_model_config(cfg: CfgNode) -> None:
    cfg.MODEL.FCOS = CfgNode()
    # Number of object classes, background not counted.
    cfg.MODEL.FCOS.NUM_CLASSES = 80
    # Pyramid levels of the detection head, fine to coarse. FCOS: p3-p7, FCOS-RT: p3-p5. Box sizes are divided among
    # them by stride: a level of stride s takes boxes whose longest side from the anchor point lies in (4s, 8s).
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # 3x3 convolutions in each of the two branches.
    cfg.MODEL.FCOS.NUM_CONVS = 4
    # Normalization of those convolutions: "", "GN", "BN", ...
    cfg.MODEL.FCOS.NORM = "GN"
    # Initial probability of an object at each anchor point, in (0, 1).
    cfg.MODEL.FCOS.PRIOR_PROB = 0.01
    # An anchor point is positive only within this many strides of the centre of its box.
    cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    cfg.MODEL.FCOS.FOCAL_LOSS_ALPHA = 0.25
    cfg.MODEL.FCOS.FOCAL_LOSS_GAMMA = 2.0
    # Detections below this score are dropped; candidates of each level before non-maximum suppression, and its IoU.
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.05
    cfg.MODEL.FCOS.TOPK_CANDIDATES_TEST = 1000
    cfg.MODEL.FCOS.NMS_THRESH_TEST = 0.6

    # The factors of the terms of SemSegFPNDiceHead's loss. (LOSS_WEIGHT is not used by it.)
    cfg.MODEL.SEM_SEG_HEAD.CE_WEIGHT = 0.5
    cfg.MODEL.SEM_SEG_HEAD.DICE_WEIGHT = 0.5

    # RegNetX (Radosavovic et al., Designing network design spaces); the default is the 200 MF model.
    cfg.MODEL.REGNETS = CfgNode()
    cfg.MODEL.REGNETS.DEPTH = 13
    cfg.MODEL.REGNETS.STEM_WIDTH = 32
    cfg.MODEL.REGNETS.W_A = 36.44
    cfg.MODEL.REGNETS.W_0 = 24
    cfg.MODEL.REGNETS.W_M = 2.49
    cfg.MODEL.REGNETS.GROUP_WIDTH = 8
    # "GN" does not mix samples: per-task gradients of images with labels of one task alone then cost nothing extra.
    cfg.MODEL.REGNETS.NORM = "GN"


def merge_config(cfg: CfgNode, config_file: str, overrides: list[str]) -> None:
    """Merges a config file (with its ``_BASE_``) and ``KEY VALUE`` pairs into ``cfg``, in place.

    Raises:
        ConfigError: the file is not there or not YAML, a key does not exist, or a value is of another type.
    """
    if len(overrides) % 2:
        raise ConfigError(f"overrides must be pairs KEY VALUE, got an odd number of words: {' '.join(overrides)}")
    pairs = dict(zip(overrides[::2], overrides[1::2], strict=True))
    known = dict(_leaves(cfg))
    try:
        given = CfgNode.load_yaml_with_base(config_file) if config_file else CfgNode()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"config file {config_file} cannot be read: {error}") from error
    keys = [*(key for key, _ in _leaves(given)), *pairs]
    wrong = [key for key in keys if key not in known and not any(k.startswith(key + ".") for k in known)]
    if wrong:
        raise ConfigError("no such config key: " + "; ".join(_suggest(key, tuple(known)) for key in wrong))
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(overrides)
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"{Path(config_file).name or 'overrides'}: {error}") from error


def _leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _suggest(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"{key} (did you mean {near[0]}?)" if near else key


def _add_options(node: CfgNode, registry: MethodRegistry) -> None:
    """One sub-node for each registered method that has options, named like the method in capitals."""
    for name, method in registry:
        if method.defaults:
            node[name.upper()] = CfgNode({key.upper(): value for key, value in method.defaults.items()})


def method_options(node: CfgNode, name: str, method: type[Strategy | Allocation]) -> dict[str, Any]:
    """The options of the method ``name`` as its ``__init__`` takes them."""
    return {key: node[name.upper()][key.upper()] for key in method.defaults}


def needs_evaluation(cfg: CfgNode) -> bool:
    """Whether the weighting, if there is one of that name, takes accuracies from evaluations during training."""
    name = cfg.MTL.SCALARIZATION.NAME
    if name not in WEIGHTINGS.names():
        return False
    method = WEIGHTINGS.get(name)
    return method.needs_evaluation(method_options(cfg.MTL.SCALARIZATION, name, method))


def build_setup(cfg: CfgNode) -> Setup:
    """What the methods may know of the run."""
    return Setup(tuple(cfg.MTL.TASKS), cfg.SOLVER.MAX_ITER)
