"""Averages of tensors over updates, and the key that asks for those of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtl_d2.balancing.counting import factor_per_update
from mtl_d2.options import declare, number

declare(
    "MTL.EMA",
    {
        "DECAY": number(
            0.0,
            "alpha of the averaged weights theta' = alpha theta' + (1 - alpha) theta, such as 0.999; they are "
            "evaluated beside the weights theta; 0: none; see docs/best_checkpoints.md",
            least=0.0,
            below=1.0,
            scales=factor_per_update,
        )
    },
)


class Averages:
    """Exponential moving averages theta'_n = a_n theta'_(n-1) + (1 - a_n) theta_n of tensors, by name.

    Paper: Antti Tarvainen and Harri Valpola, "Mean teachers are better role models", NeurIPS 2017,
    https://arxiv.org/abs/1703.01780, section 2: theta'_t = alpha theta'_(t-1) + (1 - alpha) theta_t. That the average
    of the iterates is better than the last: Boris Polyak and Anatoli Juditsky, "Acceleration of stochastic
    approximation by averaging", SIAM Journal on Control and Optimization 30(4), 1992, whose average is the plain mean.

    Differs from: the plain mean, by forgetting; and a_n = min(alpha, (1 + n) / (10 + n)), so that the first updates do
    not keep the average near where it began: the rule of ``tf.train.ExponentialMovingAverage`` with ``num_updates``.

    Attributes:
        decay: alpha, in [0, 1).
        updates: n, those that were averaged so far.
        tensors: theta' by name.
    """

    def __init__(self, decay: float) -> None:
        """Of nothing yet."""
        self.decay = decay
        self.updates = 0
        self.tensors: dict[str, Tensor] = {}

    def begin(self, present: Mapping[str, Tensor]) -> None:
        """Has the average of no update be what there is."""
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in present.items()}

    @torch.no_grad()
    def add(self, present: Mapping[str, Tensor]) -> None:
        """Takes in the tensors after one more update, under the names that it began with."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = [present[name].detach() for name in self.tensors]
        get_ema_multi_avg_fn(decay)(list(self.tensors.values()), current, self.updates)

    def exchange(self, present: Mapping[str, Tensor]) -> None:
        """Gives the tensors the averages' memory and takes theirs; nothing is copied. The second time undoes it."""
        for name, tensor in present.items():
            tensor.data, self.tensors[name] = self.tensors[name], tensor.data

    def state_dict(self) -> dict[str, Any]:
        """The averages, and of how many updates; empty before they began."""
        return {"updates": self.updates, "tensors": dict(self.tensors)} if self.tensors else {}

    def load_state_dict(self, state_dict: Mapping[str, Any], like: Mapping[str, Tensor]) -> None:
        """Goes on from them.

        Args:
            state_dict: see ``state_dict``.
            like: tensors of the same names, on whose devices and in whose memory formats they are to be.
        """
        stored = state_dict["tensors"]
        self.updates = int(state_dict["updates"])
        self.tensors = {name: torch.empty_like(tensor).detach().copy_(stored[name]) for name, tensor in like.items()}
