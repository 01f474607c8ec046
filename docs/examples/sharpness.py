"""How sharp each task's loss is at the checkpoints of a run: the largest eigenvalue of its Hessian.

    python docs/examples/sharpness.py output/comparisons/multi_mnist_20_epochs/lookahead/2 model_0003282.pth

With respect to the shared parameters, by power iteration on the first batch of the run. On a quadratic with Hessian H,
gradient descent with momentum m is stable up to an eigenvalue of 2 (1 + m) / lr. A gradient that is taken a step of
alpha ahead is H (1 - alpha H) times the distance from the minimum: it points uphill where an eigenvalue is above
1 / alpha.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor

from mtl_d2.analysis.batches import TRAIN, batches_of
from mtl_d2.analysis.run import read_config
from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.whole import connected_losses
from mtl_d2.engine import MultiTaskTrainer


def largest_eigenvalue(loss: Tensor, parameters: Sequence[Tensor], steps: int) -> float:
    """That of largest absolute value of the Hessian of ``loss`` (a scalar with its graph).

    Args:
        loss: of the ``parameters``.
        parameters: all of them are used by it.
        steps: of the power iteration, from random numbers on.
    """
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    vector = [torch.randn_like(p) for p in parameters]
    value = 0.0
    for _ in range(steps):
        length = torch.stack([v.norm() for v in vector]).norm()
        vector = [v / length for v in vector]
        product = torch.autograd.grad(gradients, parameters, vector, retain_graph=True)
        value = float(sum((a * b).sum() for a, b in zip(product, vector, strict=True)))
        vector = [p.detach() for p in product]
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of a training")
    parser.add_argument("checkpoints", nargs="+", help="names of files in it")
    parser.add_argument("--steps", type=int, default=12, help="of the power iteration (12)")
    args = parser.parse_args(arguments)
    cfg = read_config(args.run)
    model = MultiTaskTrainer.build_model(cfg).train()
    oracle = Oracle(model)
    oracle.load(next(iter(batches_of(cfg, TRAIN, 1))))
    for name in args.checkpoints:
        DetectionCheckpointer(model).load(str(args.run / name))
        torch.manual_seed(0)
        (losses,) = connected_losses(oracle, oracle.names)
        for task, loss in zip(oracle.names, losses, strict=True):
            if loss is not None:
                value = largest_eigenvalue(loss, oracle.shared, args.steps)
                sys.stdout.write(f"{name} {task}: loss {loss.item():.3f}, largest eigenvalue {value:.0f}\n")


if __name__ == "__main__":
    main()
