"""A network small enough to work out, with everything the update asks of a model."""

import torch
from torch import nn

from mtl_d2.balancing import Balancer, GradientStage, Scalarization, Setup
from mtl_d2.balancing.checks import mistakes
from mtl_d2.balancing.interfaces import Context
from mtl_d2.balancing.registry import AGGREGATORS, REGULARIZERS, ROW_SCALINGS, STEPS, WEIGHTINGS, load_methods
from mtl_d2.options import defaults
from mtl_d2.tasks.task import Task

load_methods()
NAMES = ("detection", "semantic", "depth")


class Toy(nn.Module):
    """Two features from one trunk; head k regresses a number from the first k+1 of them, with a mean over samples."""

    def __init__(self, num_tasks=2, norm=None):
        super().__init__()
        self.tasks = tuple(Task(name, (f"loss_{name}",), (f"heads.{name}",)) for name in NAMES[:num_tasks])
        self.trunk = nn.Sequential(nn.Linear(4, 6), norm or nn.Identity(), nn.Tanh(), nn.Linear(6, 5))
        self.fine = nn.Linear(5, 3)
        self.heads = nn.ModuleDict({t.name: nn.Linear(3, 1) for t in self.tasks})
        self.unused = nn.Linear(2, 2)

    def sample_tasks(self, sample):
        return sample["tasks"]

    def batch_images(self, samples):
        return torch.stack([s["image"] for s in samples])

    def shared_features(self, images):
        coarse = self.trunk(images)
        return {"coarse": coarse[:, :3], "fine": self.fine(coarse)}

    def task_losses(self, task, features, samples, reduction):
        if not samples:
            reduction.count(torch.zeros((), dtype=torch.float64))
            return {}
        x = features["fine"] if task == "semantic" else features["fine"] + features["coarse"]
        if task == "detection":
            x = features["coarse"]
        error = self.heads[task](x)[:, 0] - torch.stack([s["target"] for s in samples])
        count = reduction.count(torch.tensor(float(len(samples)), dtype=torch.float64))
        return {f"loss_{task}": (error**2).sum() / count.to(error)}

    def last_shared_parameters(self):
        return list(self.fine.parameters())

    def synchronizes(self, task=None):
        return False

    def mixes_samples(self):
        return any(isinstance(m, nn.BatchNorm1d) and m.training for m in self.modules())


def toy(num_tasks=2, norm=None, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return Toy(num_tasks, norm).to(dtype)


def batch(*task_sets, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    return [{"image": draw(4), "target": draw(()), "tasks": tuple(tasks)} for tasks in task_sets]


def setup(num_tasks, total_updates=100):
    tasks = (*NAMES, *(f"task{i}" for i in range(3, num_tasks)))[:num_tasks]
    return Setup(tasks, total_updates, {"depth/abs_err": False, "sem_seg/mIoU": True}.get)


def complaints(method, num_tasks=2, **values):
    """What is said of a method's options, the others at their defaults."""
    return mistakes(method, {**defaults(method.options), **values}, setup(num_tasks))


def mclgs(num_tasks, total_updates=100, **options):
    method = ROW_SCALINGS.get("mclgs")
    return method(setup(num_tasks, total_updates), **{**defaults(method.options), **options})


def stage(num_tasks, aggregator="mean", scaling=None, scale="method", heads="method", smooth=0.0, **options):
    method = AGGREGATORS.get(aggregator)
    built = method(setup(num_tasks), **{**defaults(method.options), **options})
    return GradientStage(scaling, built, scale, num_tasks, heads, smooth)


def weighting(num_tasks, name="fixed", **options):
    method = WEIGHTINGS.get(name)
    return method(setup(num_tasks), **{**defaults(method.options), **options})


def scalarization(num_tasks, name="fixed", mean="arithmetic", **options):
    return Scalarization(weighting(num_tasks, name, **options), mean)


def context(num_tasks, present=None, losses=None, update=0):
    present = torch.ones(num_tasks, dtype=torch.bool) if present is None else torch.tensor(present)
    losses = torch.ones(num_tasks) if losses is None else torch.tensor(losses, dtype=torch.float64)
    return Context(update, losses.double(), present, torch.Generator().manual_seed(update))


def balancer(num_tasks, built=None, scalar=None, step="joint", regularizer=None, seed=0):
    chosen = STEPS.get(step)
    return Balancer(
        setup(num_tasks),
        scalar or scalarization(num_tasks),
        built or stage(num_tasks),
        chosen(setup(num_tasks), **defaults(chosen.options)),
        regularizer,
        seed,
    )


def regularizer(num_tasks, name="cosreg", **options):
    method = REGULARIZERS.get(name)
    return method(setup(num_tasks), **{**defaults(method.options), **options})
