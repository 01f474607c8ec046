"""GradNorm: gradient norms at the last shared layer brought to a common, rate-dependent size."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import FLOOR
from mtl_d2.options import number


@WEIGHTINGS.named("gradnorm")
class GradNorm(Weighting):
    """Trains the weights until tasks that learn slowly have the larger gradients.

    Paper: Chen, Badrinarayanan, Lee and Rabinovich, GradNorm: gradient normalization for adaptive loss balancing in
    deep multitask networks, ICML 2018, https://arxiv.org/abs/1711.02257, eq. 2 and algorithm 1.
        G_i = |w_i g_i|,   r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),   target_i = mean_j G_j * r_i^alpha
        w_i <- w_i - lr * d/dw_i sum_j |G_j - target_j| / mean_j G_j,   target constant;   then sum_i w_i = T again
    |w_i g_i| = w_i |g_i|, so the derivative is sign(G_i - target_i) |g_i| and no second backward pass is needed; g_i is
    the gradient at the last shared layer alone. L_i(0) is the first loss > 0 that task i has.
    Differs from: the paper in three ways. The loss of w is divided by the mean norm, so that ``LR`` does not depend on
    the scale of the gradients. A step ends where G_i = target_i instead of jumping across it, so w stays positive (and
    >= 1e-12) and does not swing about the target. Means and sum are over the present tasks; the others keep their
    weight. With the geometric mean G_i = c_i |g_i| with c_i = dS/dL_i, which is proportional to w_i as well.
    """

    needs_rows = True
    needs_losses = False
    options = {
        "alpha": number(1.5, "pull towards equal training rates (the paper's alpha; 1.5 on NYUv2)", least=0),
        "lr": number(
            0.025, "step size of the weights: a task with the mean norm moves its weight by this much", above=0
        ),
    }

    weights: Tensor
    first_losses: Tensor

    def __init__(self, setup: Setup, alpha: float, lr: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.alpha = alpha
        self.lr = lr
        self.register_buffer("weights", torch.ones(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("first_losses", torch.zeros(setup.num_tasks, dtype=torch.float64))  # 0: none so far

    def forward(self, context: Context) -> Tensor:
        """(T,) weights > 0 that add up to T."""
        return self.weights.clone()

    def observe(self, result: UpdateResult) -> None:
        """One step of the weights of present tasks."""
        assert result.last_layer_norms is not None  # because needs_rows
        first_seen = result.present & (self.first_losses == 0) & (result.losses > 0)
        self.first_losses[first_seen] = result.losses[first_seen]
        known = result.present & (self.first_losses > 0)
        norms = (result.coefficients * result.last_layer_norms)[known]  # (K,) G_i
        if not (norms > 0).any():
            return
        mean = norms.mean()
        w = self.weights[known]
        slopes = (norms / w).clamp(min=1e-300)  # dG_i/dw_i
        at_target = mean * self._rates(result.losses, known) ** self.alpha / slopes
        way = at_target - w
        moved = w + way.sign() * torch.minimum(self.lr * slopes / mean, way.abs())
        moved = moved.clamp(min=FLOOR)
        self.weights[known] = moved * (w.sum() / moved.sum())

    def _rates(self, losses: Tensor, known: Tensor) -> Tensor:
        ratios = (losses[known] / self.first_losses[known]).clamp(min=0)
        return ratios / ratios.mean() if (ratios > 0).any() else torch.ones_like(ratios)

    def scalars(self) -> dict[str, float]:
        """w_i."""
        return {f"weight_{task}": w for task, w in zip(self.tasks, self.weights.tolist(), strict=True)}
