"""What ``benchmark.py`` compares: ways to make one update of the same model, on the same made-up batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from benchmark_batches import make_batch
from benchmark_models import MODELS, Setting
from benchmark_retained import RetainedGraphTrainer
from benchmark_torchjd import TorchJDTrainer
from detectron2.config import get_cfg
from detectron2.engine import AMPTrainer, SimpleTrainer, TrainerBase
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.utils.events import EventStorage
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import mtl_d2.modeling  # noqa: F401  # registers the meta-architectures
from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.batch import total
from mtl_d2.balancing.exact.rows import TaskGradients
from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.allocation.full import Full
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.build import build_balancer, build_precision
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.engine.speed import speed_up

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RESIDUAL_SCALE = 0.2  # of each random residual branch, or the frozen batch norms would let activations double per block
JOINT = ["MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "sum"]
# A small a0 keeps the weights off 0, which would save the work of adding.
MCLGS = ["MTL.GRADIENT.RESCALE", "mclgs", "MTL.GRADIENT.AGGREGATOR", "mean", "MTL.GRADIENT.MCLGS.A0", "1.0"]
CHANNELS_LAST = ["MTL.CHANNELS_LAST", "True"]
COMPILE = ["MTL.COMPILE", "True"]
RECOMPUTE = ["MTL.RECOMPUTE", "True"]
FLOAT16 = ["SOLVER.AMP.ENABLED", "True"]
BFLOAT16 = [*FLOAT16, "MTL.AMP_DTYPE", "bfloat16"]


class NaiveOracle(Oracle):
    """One forward and one backward of the whole network for each task; the combination is that of the exact path."""

    def row_gradients(
        self, tasks: Sequence[str] | None = None, parts: bool = False, features: bool = False
    ) -> TaskGradients:
        """See ``Oracle.row_gradients``; of all tasks, always, and whole."""
        gradients = self.nothing()
        gradients.heads = []
        for task, parameters in zip(self.names, self.heads, strict=True):
            own = [s for s in self.batch.samples if task in self.model.sample_tasks(s)]
            pyramid = self.model.shared_features(self.model.batch_images(own))
            losses = self.model.task_losses(task, pyramid, own, self.reduction)
            self.drop_gradients(self.batch.parts[0])
            both = torch.autograd.grad(total(losses), [*self.shared, *parameters], allow_unused=True)
            gradients.rows.append(list(both[: len(self.shared)]))
            gradients.heads.append(list(both[len(self.shared) :]))
            gradients.local |= {name: value.detach() for name, value in losses.items()}
            del pyramid, losses, both
        self.send_losses(gradients)
        return gradients


@dataclass(frozen=True)
class Variant:
    """One way to make an update.

    Attributes:
        about: what it is, for the table.
        reference: the variant that it is compared with.
        disjoint: every image has one task only, in turn, as with STA of k = 1; otherwise every image has all.
        overrides: config of the balancer, or None for detectron2's SimpleTrainer.
        oracle: what takes the gradients.
        accumulate: K, micro-batches of an update with a balancer.
        build: makes another trainer than these.
    """

    about: str
    reference: str = "simple"
    disjoint: bool = False
    overrides: list[str] | None = None
    oracle: Callable[..., Oracle] = Oracle
    accumulate: int = 1
    build: Callable[[Bench], TrainerBase] | None = None


VARIANTS = {
    "simple": Variant("detectron2's SimpleTrainer"),
    "joint": Variant("our loop, equal weights, one backward", overrides=JOINT),
    "sta": Variant("our loop, STA with k = 1, one backward", "joint", disjoint=True, overrides=JOINT),
    "mclgs": Variant("our loop, MCLGS, exact", overrides=MCLGS),
    "naive": Variant("MCLGS, T forwards and backwards", overrides=MCLGS, oracle=NaiveOracle),
    "sta-mclgs": Variant("our loop, STA with k = 1, MCLGS, exact", "mclgs", disjoint=True, overrides=MCLGS),
    "mclgs-k2": Variant("our loop, MCLGS, exact, in two micro-batches", "mclgs", overrides=MCLGS, accumulate=2),
    "torchjd": Variant("TorchJD's mtl_backward, IMTL-G", build=lambda bench: bench.torchjd()),
    "torchjd-lean": Variant(
        "the same with `optimize_gramian_computation`", build=lambda bench: bench.torchjd(sum_gramians=True)
    ),
    "retained": Variant("one graph, T times backward(retain_graph), IMTL-G", build=lambda bench: bench.retained()),
    "simple-disjoint": Variant("SimpleTrainer, one task an image", "simple-disjoint", disjoint=True),
    "mclgs-disjoint": Variant(
        "our loop, MCLGS, exact, one task an image", "simple-disjoint", disjoint=True, overrides=MCLGS
    ),
}
# Settings of the network; each with a copy of the model.
SPEED = {
    "joint-channels-last": Variant("joint with MTL.CHANNELS_LAST", "joint", overrides=[*JOINT, *CHANNELS_LAST]),
    "mclgs-channels-last": Variant("mclgs with MTL.CHANNELS_LAST", "mclgs", overrides=[*MCLGS, *CHANNELS_LAST]),
    "joint-compiled": Variant("joint with MTL.COMPILE", "joint", overrides=[*JOINT, *COMPILE]),
    "mclgs-compiled": Variant("mclgs with MTL.COMPILE", "mclgs", overrides=[*MCLGS, *COMPILE]),
    "joint-recompute": Variant("joint with MTL.RECOMPUTE", "joint", overrides=[*JOINT, *RECOMPUTE]),
    "mclgs-recompute": Variant("mclgs with MTL.RECOMPUTE", "mclgs", overrides=[*MCLGS, *RECOMPUTE]),
    "simple-float16": Variant("detectron2's AMPTrainer, which needs a GPU", build=lambda bench: bench.amp()),
    "joint-float16": Variant("joint in float16", "simple-float16", overrides=[*JOINT, *FLOAT16]),
    "mclgs-float16": Variant("mclgs in float16", "simple-float16", overrides=[*MCLGS, *FLOAT16]),
    "joint-bfloat16": Variant("joint in bfloat16", "simple-float16", overrides=[*JOINT, *BFLOAT16]),
    "mclgs-bfloat16": Variant("mclgs in bfloat16", "simple-float16", overrides=[*MCLGS, *BFLOAT16]),
}


class Bench:
    """One model and one optimizer, and trainers that take turns at updating it."""

    def __init__(self, setting: Setting) -> None:
        """Builds the model with random weights, and both batches."""
        self.setting = setting
        cfg = build_cfg(setting, [])
        torch.manual_seed(0)
        self.model = build_model(cfg)
        shrink_residuals(self.model)
        self.plain = copy.deepcopy(self.model)
        speed_up(self.model, cfg)
        self.settings = speed_settings(cfg)
        self.optimizer = MultiTaskTrainer.build_optimizer(cfg, self.model)
        self.batches = {disjoint: make_batch(cfg, setting, disjoint) for disjoint in (False, True)}

    def trainer(self, variant: Variant) -> TrainerBase:
        """A trainer that makes updates as ``variant`` does."""
        batches = repeat(self.batches[variant.disjoint])
        if variant.build is not None:
            trainer = variant.build(self)
        elif variant.overrides is None:
            trainer = SimpleTrainer(MODELS[self.setting.model].plain(self.model).train(), batches, self.optimizer)
        else:
            trainer = self.loop(variant, batches)
        trainer.storage = EventStorage(0)
        return trainer

    def loop(self, variant: Variant, batches: Iterable[list[dict]]) -> MultiTaskLoop:
        """Our loop with the balancer of ``variant``."""
        cfg = build_cfg(self.setting, variant.overrides or [])
        balancer = build_balancer(cfg)
        full = Full(balancer.setup, self.setting.batch)
        model, optimizer = self.model, self.optimizer
        if speed_settings(cfg) != self.settings:
            model = copy.deepcopy(self.plain)
            speed_up(model, cfg)
            optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
        precision = build_precision(cfg)
        trainer = MultiTaskLoop(model, optimizer, balancer, lambda start: batches, full, precision=precision)
        trainer.oracle = variant.oracle(model, precision=precision, accumulate=variant.accumulate)
        return trainer

    def amp(self) -> AMPTrainer:
        """detectron2's float16 training."""
        model = MODELS[self.setting.model].plain(self.model).train()
        return AMPTrainer(model, repeat(self.batches[False]), self.optimizer)

    def retained(self) -> RetainedGraphTrainer:
        """The update of libraries that keep the whole graph, of our model, on images that have all labels."""
        return RetainedGraphTrainer(self.model, repeat(self.batches[False]), self.optimizer)

    def torchjd(self, **options: bool) -> TorchJDTrainer:
        """TorchJD's update of our model, on images that have all labels."""
        return TorchJDTrainer(self.model, repeat(self.batches[False]), self.optimizer, **options)


def speed_settings(cfg: Any) -> tuple[bool, bool, bool]:
    """What ``speed_up`` looks at."""
    return cfg.MTL.CHANNELS_LAST, cfg.MTL.COMPILE, cfg.MTL.RECOMPUTE


def make_update(trainer: TrainerBase) -> None:
    """One update, as ``TrainerBase.train`` makes it, without hooks."""
    with trainer.storage as storage, torch.jit.optimized_execution(False):
        trainer.run_step()
        trainer.iter += 1
        storage.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def build_cfg(setting: Setting, overrides: list[str]) -> Any:
    """The config of the model, without pretrained weights and clipping, and with a rate that moves nothing."""
    model = MODELS[setting.model]
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(CONFIGS / model.config), [*model.overrides, *overrides])
    cfg.MTL.TASKS = (*model.tasks, *model.further)[: setting.tasks]
    cfg.MODEL.DEVICE = setting.device
    cfg.MODEL.WEIGHTS = ""
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False  # SimpleTrainer has none
    cfg.SOLVER.BASE_LR = 1e-6
    check_mtl_config(cfg)
    return cfg


def shrink_residuals(model: nn.Module) -> None:
    """Keeps the activations of a ResNet with random weights and frozen batch norms in range."""
    for block in model.modules():
        if isinstance(block, BasicBlock | BottleneckBlock):
            norm = (block.conv3 if isinstance(block, BottleneckBlock) else block.conv2).norm
            if isinstance(norm, FrozenBatchNorm2d):
                norm.weight.fill_(RESIDUAL_SCALE)


class FlopCounter(TorchDispatchMode):
    """Adds up the floating-point operations of convolutions and matrix products, backward passes included.

    torch's own ``FlopCounterMode`` fails on ``autograd.grad`` to detached leaves; the formulas are torch's.
    """

    def __init__(self) -> None:
        """Starts at 0."""
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operator and counts it."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result
