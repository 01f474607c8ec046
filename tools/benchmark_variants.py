"""What ``benchmark.py`` compares: ways to make one update of the same model, on the same made-up batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from benchmark_models import TASKS, TorchJDTrainer
from detectron2.config import get_cfg
from detectron2.engine import SimpleTrainer, TrainerBase
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.jacobian import TaskGradients, total
from mtl_d2.config import add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.allocation.full import Full
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.loop import MultiTaskLoop

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RESIDUAL_SCALE = 0.2  # of each random residual branch, or the frozen batch norms would let activations double per block
JOINT = ["MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "sum"]
# A small a0 keeps the weights off 0, which would save the work of adding.
MCLGS = ["MTL.GRADIENT.RESCALE", "mclgs", "MTL.GRADIENT.AGGREGATOR", "mean", "MTL.GRADIENT.MCLGS.A0", "1.0"]


@dataclass(frozen=True)
class Model:
    """A network to measure: its config, what is changed in it, and the batch that it is measured on by default."""

    config: str
    overrides: tuple[str, ...]
    size: tuple[int, int]  # height, width
    batch: int


MODELS = {
    "r50": Model("bdd100k_mclgs.yaml", (), (256, 448), 2),
    "r18": Model(
        "bdd100k_mclgs.yaml", ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"), (256, 448), 2
    ),
    "small": Model("sample_scenes_mclgs.yaml", (), (96, 160), 4),
}


@dataclass(frozen=True)
class Setting:
    """What all variants of one run have in common.

    Attributes:
        model: a key of ``MODELS``.
        size: height and width of the images in pixels.
        batch: number of images.
        tasks: T; the first T of ``TASKS``.
        device: "cpu" or "cuda".
    """

    model: str
    size: tuple[int, int]
    batch: int
    tasks: int
    device: str


class NaiveOracle(Oracle):
    """One forward and one backward of the whole network for each task; the combination is that of the exact path."""

    def gradients(self, tasks: Sequence[str] | None = None, trunk: str = "rows") -> TaskGradients:
        """See ``Oracle.gradients``; all tasks, always."""
        terms: list[dict[str, Tensor]] = []
        both: list[list[Tensor | None]] = []
        for task, parameters in zip(self.names, self.heads, strict=True):
            own = [s for s in self.passes.samples if task in self.model.sample_tasks(s)]
            features = self.model.shared_features(self.model.batch_images(own))
            losses = self.model.task_losses(task, features, own, self.reduction)
            self._drop_gradients(self.passes.parts[0])
            both.append(list(torch.autograd.grad(total(losses), [*self.shared, *parameters], allow_unused=True)))
            terms.append({name: value.detach() for name, value in losses.items()})
            del features, losses
        found = self._reduce_losses(terms)
        found.rows = [gradients[: len(self.shared)] for gradients in both]
        found.heads = [gradients[len(self.shared) :] for gradients in both]
        return found


@dataclass(frozen=True)
class Variant:
    """One way to make an update.

    Attributes:
        about: what it is, for the table.
        reference: the variant that it is compared with.
        disjoint: every image has labels of one task only, in turn; otherwise every image has all.
        overrides: config of the balancer, or None for ``trainer``.
        oracle: what takes the gradients.
        trainer: what makes the update where there is no balancer.
        accumulate: K, micro-batches of an update with a balancer.
    """

    about: str
    reference: str = "simple"
    disjoint: bool = False
    overrides: list[str] | None = None
    oracle: Callable[..., Oracle] = Oracle
    trainer: Callable[[Any, Any, Any], TrainerBase] = SimpleTrainer
    accumulate: int = 1


VARIANTS = {
    "simple": Variant("detectron2's SimpleTrainer"),
    "joint": Variant("our loop, equal weights, one backward", overrides=JOINT),
    "mclgs": Variant("our loop, MCLGS, exact", overrides=MCLGS),
    "naive": Variant("MCLGS, T forwards and backwards", overrides=MCLGS, oracle=NaiveOracle),
    "mclgs-k2": Variant("MCLGS, exact, in two micro-batches", overrides=MCLGS, accumulate=2),
    "torchjd": Variant("TorchJD's mtl_backward, IMTL-G", trainer=TorchJDTrainer),
    "simple-disjoint": Variant("SimpleTrainer, one task an image", "simple-disjoint", disjoint=True),
    "mclgs-disjoint": Variant(
        "our loop, MCLGS, exact, one task an image", "simple-disjoint", disjoint=True, overrides=MCLGS
    ),
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
        self.optimizer = MultiTaskTrainer.build_optimizer(cfg, self.model)
        self.batches = {disjoint: make_batch(cfg, setting, disjoint) for disjoint in (False, True)}

    def trainer(self, variant: Variant) -> TrainerBase:
        """A trainer that makes updates as ``variant`` does."""
        batches = repeat(self.batches[variant.disjoint])
        if variant.overrides is None:
            trainer = variant.trainer(self.model, batches, self.optimizer)
        else:
            balancer = build_balancer(build_cfg(self.setting, variant.overrides))
            full = Full(balancer.setup, self.setting.batch)
            trainer = MultiTaskLoop(self.model, self.optimizer, balancer, lambda start: batches, full)
            trainer.oracle = variant.oracle(self.model, accumulate=variant.accumulate)
        trainer.storage = EventStorage(0)
        return trainer


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
    cfg.MTL.TASKS = TASKS[: min(setting.tasks, 2)]
    cfg.MODEL.DEVICE = setting.device
    cfg.MODEL.WEIGHTS = ""
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False  # SimpleTrainer has none
    cfg.SOLVER.BASE_LR = 1e-6
    check_mtl_config(cfg)
    if setting.tasks > 2:
        cfg.MTL.TASKS, cfg.MODEL.META_ARCHITECTURE = TASKS, "ThreeTaskFCOS"
    return cfg


def shrink_residuals(model: nn.Module) -> None:
    """Keeps the activations of a ResNet with random weights and frozen batch norms in range."""
    for block in model.modules():
        if isinstance(block, BasicBlock | BottleneckBlock):
            norm = (block.conv3 if isinstance(block, BottleneckBlock) else block.conv2).norm
            if isinstance(norm, FrozenBatchNorm2d):
                norm.weight.fill_(RESIDUAL_SCALE)


def make_batch(cfg: Any, setting: Setting, disjoint: bool, boxes: int = 8) -> list[dict]:
    """Mapped samples of random content.

    Args:
        cfg: says the tasks and the numbers of classes.
        setting: says size and number of the images.
        disjoint: give each image the label of one task, in turn, instead of all.
        boxes: objects in each image with a detection label.
    """
    generator = torch.Generator().manual_seed(1)
    h, w = setting.size
    samples = []
    for index in range(setting.batch):
        image = torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8)
        corner = torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 2, h / 2])
        side = 8 + torch.rand(boxes, 2, generator=generator) * torch.tensor([w / 2 - 8, h / 2 - 8])
        classes = torch.randint(0, cfg.MODEL.FCOS.NUM_CLASSES, (boxes,), generator=generator)
        blocks = torch.randint(0, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, (h // 16 + 1, w // 16 + 1), generator=generator)
        labels = {
            "instances": Instances((h, w), gt_boxes=Boxes(torch.cat([corner, corner + side], 1)), gt_classes=classes),
            "sem_seg": blocks.repeat_interleave(16, 0).repeat_interleave(16, 1)[:h, :w].contiguous(),
        }
        tasks = cfg.MTL.TASKS if not disjoint else [cfg.MTL.TASKS[index % len(cfg.MTL.TASKS)]]
        samples.append({"image": image, "height": h, "width": w, "tasks": tuple(tasks), **labels})
    return samples


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
