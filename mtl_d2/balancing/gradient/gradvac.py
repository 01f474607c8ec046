"""GradVac: gradients are turned until they are as similar as they use to be."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import number

LARGEST = 0.999  # cosine that is aimed at: reaching 1 would take an infinite share of the other gradient
EPSILON = np.finfo(np.float64).eps  # of what is left of a gradient that was projected away


@AGGREGATORS.named("gradvac")
class GradVac(Aggregator):
    """The sum of the task gradients after each was turned towards those it is less similar to than usual.

    Paper: Wang, Tsvetkov, Firat and Cao, Gradient Vaccine: Investigating and Improving Multi-task Optimization in
    Massively Multilingual Models, ICLR 2021, https://arxiv.org/abs/2010.05874, algorithm 1, eq. 2 and 3.
        for each i, from p_i = g_i, for each j != i in random order, with phi the cosine of p_i and g_j:
            if phi < t_ij:  p_i <- p_i + ||p_i|| (t_ij sin(phi) - phi sin(t_ij)) / (||g_j|| sin(t_ij)) g_j
            t_ij <- (1 - beta) t_ij + beta phi
        update = sum_i p_i,   sin(x) = sqrt(1 - x^2)
    p_i has the cosine t_ij to g_j then. t starts at 0, so that the first update is PCGrad's, and with beta = 0 all are.
    Without conflict the weights are 1: scale "sum".
    Differs from: the paper, which keeps a t for each layer; here one is for all shared parameters. No t above 0.999 is
    aimed at, where p_i would become hundreds of times as long; a p_i that was projected to nothing stays nothing.
    """

    scale = "sum"
    options = {
        "beta": number(
            0.5, "share of a new cosine in the targets; 0 is PCGrad. The paper has 0.01, LibMTL 0.5", least=0, most=1
        )
    }

    target: Tensor

    def __init__(self, setup: Setup, beta: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.beta = beta
        self.register_buffer("target", torch.zeros(setup.num_tasks, setup.num_tasks, dtype=torch.float64))

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1."""
        G = gramian.numpy()
        norms = np.sqrt(np.diagonal(G))
        places = np.array(context.indices)
        weights = torch.zeros(len(G), dtype=torch.float64)
        for i in range(len(G)):
            turned = np.zeros(len(G))
            turned[i] = 1.0
            for j in torch.randperm(len(G), generator=context.generator).tolist():
                if j != i:
                    self._turn(turned, G, norms, i, j, places)
            weights += torch.from_numpy(turned)
        return weights

    def _turn(self, turned: np.ndarray, G: np.ndarray, norms: np.ndarray, i: int, j: int, places: np.ndarray) -> None:
        """One step of row i, whose weights ``turned`` are changed in place."""
        square = turned @ G @ turned
        if square <= 4 * len(G) * EPSILON * (np.abs(turned) @ np.abs(G) @ np.abs(turned)):
            return
        length = math.sqrt(square)
        phi = float(np.clip(G[j] @ turned / length / norms[j], -1, 1))
        target = self.target[places[i], places[j]]
        aim = min(float(target), LARGEST)
        if phi < aim:
            sines = math.sqrt(1 - phi**2), math.sqrt(1 - aim**2)
            turned[j] += length / norms[j] * (aim * sines[0] - phi * sines[1]) / sines[1]
        target += self.beta * (phi - target)  # a view of the buffer
