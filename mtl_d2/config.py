"""The keys that mtl_d2 adds to a detectron2 config; ``config_check`` says whether they make sense together."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode

from mtl_d2.balancing import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, Setup, load_methods
from mtl_d2.balancing.interfaces import Strategy
from mtl_d2.balancing.registry import MethodRegistry
from mtl_d2.data.allocation import ALLOCATIONS, Allocation
from mtl_d2.data.modules import import_modules
from mtl_d2.earlier_keys import RENAMED, accept_earlier_keys, is_earlier
from mtl_d2.evaluation.delta import direction
from mtl_d2.options import declared, defaults
from mtl_d2.tasks.options import make_room, without_room
from mtl_d2.tasks.registry import load_kinds

METHODS: tuple[tuple[str, MethodRegistry], ...] = (  # nodes of cfg.MTL whose methods have options
    ("ALLOCATION", ALLOCATIONS),
    ("SCALARIZATION", WEIGHTINGS),
    ("GRADIENT", ROW_SCALINGS),
    ("GRADIENT", AGGREGATORS),
    ("REGULARIZER", REGULARIZERS),
    ("STEP", STEPS),
)
MODULES = "MTL.DATA.MODULES"

# Of the keys below: those that count updates and those that count samples of a global batch. They follow the number of
# processes where SOLVER.REFERENCE_WORLD_SIZE asks for it; methods say it of their own options (``Option.scales``).
COUNT_UPDATES = ("MTL.LOG_PERIOD", "MTL.CHECK_REPLICAS", "MTL.GRADIENT.EXACT_EVERY")
COUNT_SAMPLES = ("MTL.DATA.PER_DATASET",)

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class ConfigError(ValueError):
    """A config that cannot be trained; the message lists every mistake that was found."""


def add_mtl_config(cfg: CfgNode) -> None:
    """Adds the keys of mtl_d2 with their defaults to a detectron2 config, in place."""
    load_methods()
    cfg.MTL = CfgNode()
    # The tasks, in the order of all weights and logs: kinds of mtl_d2/tasks/, or one of a file in MTL.DATA.MODULES.
    # KIND/NAME is another task of a kind, with labels, metrics and a head of its own, such as "semantic/lane".
    cfg.MTL.TASKS = ("detection", "semantic")
    # Options of the head of one task, by its name, in the place of those that all tasks of the kind have:
    # TASK_OPTIONS: {semantic/lane: {NUM_CLASSES: 2}} beside MODEL.SEM_SEG_HEAD.NUM_CLASSES.
    cfg.MTL.TASK_OPTIONS = CfgNode()
    # "sgd", detectron2's, or an optimizer of torch.optim or timm.optim by its name, with arguments where it needs them:
    # "adamw", "adamw(betas=(0.9, 0.95), eps=1e-6)", "lamb". All follow SOLVER.BASE_LR, its schedule and the weight
    # decays; those that have such an argument follow SOLVER.MOMENTUM and NESTEROV.
    cfg.MTL.OPTIMIZER = "sgd"
    # What the best model is chosen by, as with early stopping: "group/metric" of an evaluation, of which the lowest is
    # best if it is an error; a sum of metrics, "bbox/AP + 0.5 * sem_seg/mIoU - depth/rmse"; "delta", the mean relative
    # gain against SELECT_REFERENCE; or several of these with commas between. The first one's best model is kept as
    # model_best.pth and gives the results, each further one's as model_best_<criterion>.pth. Empty: results are those
    # at the end of training. See docs/best_checkpoints.md.
    cfg.MTL.SELECT_BY = ""
    # Where: "validation", on the images that MTL.DATA.VALIDATION_SHARE holds out of training, or "test", on
    # DATASETS.TEST, for sets of which one is there for this purpose.
    cfg.MTL.SELECT_ON = "validation"
    # The results.json of single-task runs, or their folders, with commas between, that "delta" is taken against.
    cfg.MTL.SELECT_REFERENCE = ""
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
    # Keep of the trunk's activations those between some of its blocks alone, and of semantic losses nothing as large as
    # the images, and compute the others again in backward passes: the same values with less memory, in more time; see
    # docs/precision_and_memory.md.
    cfg.MTL.RECOMPUTE = False
    # Compile the trunk with torch.compile; needs a C++ compiler on a CPU, Triton on a GPU. The first updates take
    # minutes.
    cfg.MTL.COMPILE = False
    # Where an evaluation takes the class of the highest score of each pixel: "image", of scores resized to the stored
    # image, as detectron2 does; or "map", of scores as the head makes them, of which the classes are resized: faster,
    # and coarser at the borders. Predictions outside of evaluations are scores, as ever; see docs/inference.md.
    cfg.MTL.CLASSES_AT = "image"

    # How the task gradients travel between processes. "all_reduce": each as a whole, T all-reduces. "reduce_scatter":
    # every process gets a part of each, and the parts of the direction are gathered, (T + 1) / 2 all-reduces; not for
    # methods that look at whole gradients. "auto": the second wherever it is faster. See docs/distributed.md.
    cfg.MTL.COMMUNICATION = "auto"
    # Updates between two comparisons of the parameters of all processes, which stop the run where they differ. 0: none.
    cfg.MTL.CHECK_REPLICAS = 0

    cfg.MTL.DATA = CfgNode()
    # How many samples of each data set of DATASETS.TRAIN a global batch holds; must add up to SOLVER.IMS_PER_BATCH.
    # Empty: one shuffled pass an epoch over the union of the data sets.
    cfg.MTL.DATA.PER_DATASET = ()
    # Share in [0, 1) of the images of each data set of DATASETS.TRAIN that is kept from training. Weightings that look
    # at accuracies get those on these images, every TEST.EVAL_PERIOD updates; never those on the test sets.
    cfg.MTL.DATA.VALIDATION_SHARE = 0.0
    # What is learnt of regions in which objects are not told apart (annotations with iscrowd or ignore 1): "ignore" for
    # nothing, as evaluation counts nothing there, or "background", as detectron2 trains them; see docs/datasets.md.
    cfg.MTL.DATA.CROWD_REGIONS = "ignore"
    # Names of the objects and of the classes of pixels that the run knows, in the order of their ids. Data sets with
    # other lists, or another order, are mapped to it by name; see docs/partial_classes.md. Empty: their own, which must
    # be the same for all. "STUFF/lane" is the list of the task semantic/lane.
    cfg.MTL.DATA.CLASSES = CfgNode({"THING": (), "STUFF": ()})
    # Python files that register data sets or methods of your own; executed once, before anything is built.
    cfg.MTL.DATA.MODULES = ()

    cfg.MTL.ALLOCATION = CfgNode()
    # Which tasks supervise which sample: "full" is every task that the sample has a label for. "sta", "ista" and "gap"
    # draw K of them (the size of the paper's tau); see docs/allocation.md.
    cfg.MTL.ALLOCATION.NAME = "full"

    cfg.MTL.SCALARIZATION = CfgNode()
    # How the task losses become one number S.
    cfg.MTL.SCALARIZATION.NAME = "fixed"
    # "arithmetic": S = sum w_i L_i; "geometric": S = prod L_i^w_i with weights that add up to 1; "log": S = sum w_i
    # log L_i, so that no task's share of the gradient depends on the scale of its loss.
    cfg.MTL.SCALARIZATION.MEAN = "arithmetic"
    # Learning rate of the weighting's own parameters, where it has any, as a multiple of SOLVER.BASE_LR.
    cfg.MTL.SCALARIZATION.LR_FACTOR = 1.0

    cfg.MTL.GRADIENT = CfgNode()
    # Factor on each task's gradient before they are combined: "" for none, "mclgs", or "unit" for one length.
    cfg.MTL.GRADIENT.RESCALE = ""
    # How the task gradients become one direction.
    cfg.MTL.GRADIENT.AGGREGATOR = "sum"
    # Scale of the direction: "method" as the method has it, "sum" or "mean" times T or 1/T, so that a learning rate
    # tuned for one method fits another.
    cfg.MTL.GRADIENT.SCALE = "method"
    # Share in [0, 1) of the last weights in those of an aggregator (CR-MOGM); 0: none.
    cfg.MTL.GRADIENT.SMOOTH = 0.0
    # What heads are multiplied by: "method" as the method has it (a constant for all), "weights" the rows' weights.
    cfg.MTL.GRADIENT.HEADS = "method"
    # What the Gramian that the weights come from is taken of: "all" shared parameters; the "last_layer" of them; the
    # "features", which costs one backward pass in all and is an approximation no better than a constant: see docs.
    cfg.MTL.GRADIENT.LEVEL = "all"
    # Every so many updates, take each task's exact gradient for the logs even if no method needs it, and log the cosine
    # of that update's direction with the next one's. 0: never. MTL.LOG_PERIOD should not be larger, or some are lost.
    cfg.MTL.GRADIENT.EXACT_EVERY = 0

    cfg.MTL.REGULARIZER = CfgNode()
    # What is added to the objective: "" for nothing, or "cosreg".
    cfg.MTL.REGULARIZER.NAME = ""
    # Modules of the last shared layer (CosReg, GradNorm, MTL.GRADIENT.LEVEL "last_layer"), which every task reaches.
    # Empty: the output convolutions of the pyramid levels that two tasks or more look at.
    cfg.MTL.LAST_SHARED_LAYER = ()

    cfg.MTL.STEP = CfgNode()
    # Where gradients are taken, and in which order the parameters move.
    cfg.MTL.STEP.NAME = "joint"

    _add_options(cfg)
    load_declarations()
    load_kinds()
    add_declared(cfg)
    accept_earlier_keys(cfg)


def merge_config(cfg: CfgNode, config_file: str, overrides: list[str], allow_unsafe: bool = False) -> None:
    """Merges a config file (with its ``_BASE_``) and ``KEY VALUE`` pairs into ``cfg``, in place.

    The files of ``MTL.DATA.MODULES`` are executed first, since methods that they register add keys.

    Args:
        cfg: with ``add_mtl_config``'s keys.
        config_file: path; empty for none.
        overrides: the pairs.
        allow_unsafe: execute Python in the file, as detectron2 does, whose own RetinaNet configs compute their anchor
            sizes; for files that a user names to be trained, not for what a run has left.

    Raises:
        ConfigError: the file is not there or not YAML, a key does not exist, or a value is of another type.
        DataError: a file of ``MTL.DATA.MODULES`` is missing or fails.
    """
    joined = [key for key in overrides[::2] if "=" in key]
    if joined:
        raise ConfigError(f"overrides must be pairs KEY VALUE, got {joined[0]}: write {joined[0].replace('=', ' ', 1)}")
    if len(overrides) % 2:
        raise ConfigError(f"overrides must be pairs KEY VALUE, got an odd number of words: {' '.join(overrides)}")
    pairs = dict(zip(overrides[::2], overrides[1::2], strict=True))
    name = Path(config_file).name or "overrides"
    try:
        given = CfgNode.load_yaml_with_base(config_file, allow_unsafe) if config_file else CfgNode()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"config file {config_file} cannot be read: {error}{_near_file(config_file)}") from error
    except TypeError:  # detectron2's, of an empty file
        given = None
    if not isinstance(given, Mapping):
        raise ConfigError(f"config file {config_file} is empty, or has no KEY: VALUE lines: name another")
    _import_own_modules(cfg, given, pairs)
    known = dict(leaves(cfg))
    keys = [*(key for key, _ in leaves(given) if not is_earlier(key)), *pairs]
    rooms = {key for key in keys if make_room(cfg, key)}
    wrong = [key for key in keys if key not in {*known, *rooms} and not any(k.startswith(key + ".") for k in known)]
    if wrong:
        lines = [without_room(cfg, key) or _suggest(key, tuple(known)) for key in wrong]
        raise ConfigError("no such config key: " + "; ".join(lines))
    values = [*(key for key, value in leaves(given) if not isinstance(value, Mapping)), *pairs]
    nodes = [key for key in values if not is_earlier(key) and isinstance(_node(cfg, key), CfgNode)]
    if nodes:
        raise ConfigError(f"{nodes[0]} is no option, but holds several: give one of them, as {nodes[0]}.NAME VALUE")
    try:
        if config_file:
            _merge_file(cfg, config_file, given, allow_unsafe)
        known = dict(leaves(cfg))
        cfg.merge_from_list([word for k, value in pairs.items() for word in (k, _as_float(value, known.get(k)))])
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(_other_type(str(error)) or f"{name}: {error}") from error


def _near_file(path: str) -> str:
    """What a path that is not there may mean; empty where it is, or nothing is near."""
    files = [] if Path(path).exists() else [str(file) for file in Path(path).parent.glob("*.yaml")]
    near = difflib.get_close_matches(path, files, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _other_type(said: str) -> str:
    """What yacs says of a value of another type, in words; empty if it says something else."""
    types = r"\(<class '(\w+)'> vs\. <class '(\w+)'>\)"
    found = re.fullmatch(
        rf"Type mismatch {types} with values \((.*) vs\. (.*)\) for config key: (\S+)", said, re.DOTALL
    )
    if not found:
        return ""
    kind, given, default, value, key = found.groups()
    example = {"tuple": f"('{value}',)", "list": f"['{value}']"}.get(kind, default)
    return f"{key} must be of type {kind}, such as {example}; got {value!r} of type {given}"


def _merge_file(cfg: CfgNode, config_file: str, given: CfgNode, allow_unsafe: bool) -> None:
    """detectron2's ``merge_from_file``, to which a whole number is no float; ``given`` is what the file holds."""
    default = dict(leaves(cfg))
    whole = [key for key, value in leaves(given) if type(value) is int and type(default.get(key)) is float]
    for key in [key for key, _ in leaves(given) if key in RENAMED]:
        node, name = RENAMED[key].rpartition(".")[::2]
        _node(cfg, node)[name] = type(default[RENAMED[key]])(_node(given, key))
    places = [key.rpartition(".")[::2] for key in whole]
    for node, name in places:
        _node(cfg, node)[name] = 0
    cfg.merge_from_file(config_file, allow_unsafe)
    for node, name in places:
        _node(cfg, node)[name] = float(_node(cfg, node)[name])


def _node(cfg: CfgNode, path: str) -> CfgNode:
    for name in path.split(".") if path else ():
        cfg = cfg[name]
    return cfg


def _as_float(value: Any, default: object) -> Any:
    """``value``, as a float where it is a whole number and ``default`` a float: yacs lets none stand for the other."""
    if type(default) is float and (type(value) is int or re.fullmatch(r"[+-]?\d+", str(value))):
        return float(value)
    return value


def leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below ``node`` as a dotted path, with its value."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _suggest(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key.upper(), known, n=1)
    return f"{key} (did you mean {near[0]}?)" if near else key


def _add_options(cfg: CfgNode) -> None:
    """One sub-node for each registered method that has options and no node yet, named like the method in capitals."""
    for choice, registry in METHODS:
        node = cfg.MTL[choice]
        for name, method in registry:
            if method.options and name.upper() not in node:
                node[name.upper()] = CfgNode({key.upper(): value for key, value in defaults(method.options).items()})


def load_declarations() -> None:
    """Imports what declares keys: the models, heads and trunks of mtl_d2, and what chooses an optimizer."""
    for module in (
        "mtl_d2.averages",
        "mtl_d2.modeling",
        "mtl_d2.optimizers",
        "mtl_d2.schedules",
    ):  # not at the top of this file, which they may import
        importlib.import_module(module)


def add_declared(cfg: CfgNode) -> None:
    """The keys of ``mtl_d2.options.declare`` that are not there yet, with their defaults, in place."""
    for path, options in declared():
        node = cfg
        for name in path.split("."):
            node = node.setdefault(name, CfgNode())
        for key, option in options.items():
            node.setdefault(key, option.default)


def _import_own_modules(cfg: CfgNode, given: CfgNode, pairs: Mapping[str, str]) -> None:
    """Executes the files that the config file or the overrides name: their methods add keys to the config."""
    named = dict(leaves(given)).get(MODULES, cfg.MTL.DATA.MODULES)
    early = cfg.clone()
    try:
        early.merge_from_list([MODULES, pairs.get(MODULES, named)])
    except ValueError as error:
        raise ConfigError(_other_type(str(error)) or f"{MODULES} must be a list of Python files: {error}") from error
    import_modules(early)
    _add_options(cfg)
    add_declared(cfg)


def method_options(node: CfgNode, name: str, method: type[Strategy | Allocation]) -> dict[str, Any]:
    """The options of the method ``name`` as its ``__init__`` takes them."""
    return {key: node[name.upper()][key.upper()] for key in method.options}


def methods_that_evaluate(cfg: CfgNode) -> list[tuple[str, CfgNode, str]]:
    """The chosen methods that take accuracies from evaluations during training: key, node of the config and name."""
    chosen = [
        ("MTL.SCALARIZATION.NAME", cfg.MTL.SCALARIZATION, cfg.MTL.SCALARIZATION.NAME, WEIGHTINGS),
        ("MTL.GRADIENT.AGGREGATOR", cfg.MTL.GRADIENT, cfg.MTL.GRADIENT.AGGREGATOR, AGGREGATORS),
    ]
    return [
        (key, node, name)
        for key, node, name, registry in chosen
        if name in registry.names()
        and registry.get(name).needs_evaluation(method_options(node, name, registry.get(name)))
    ]


def needs_evaluation(cfg: CfgNode) -> bool:
    """Whether one of the chosen methods takes accuracies from evaluations during training."""
    return bool(methods_that_evaluate(cfg))


def build_setup(cfg: CfgNode) -> Setup:
    """What the methods may know of the run."""
    return Setup(tuple(cfg.MTL.TASKS), cfg.SOLVER.MAX_ITER, direction)
