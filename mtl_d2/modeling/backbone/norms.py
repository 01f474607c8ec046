"""Other norms in the place of a network's batch norms; the activations that timm puts into them are kept.

timm is imported where it is needed: with it a mistake in a config would be said a third of a second later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from detectron2.layers import NaiveSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MOST_GROUPS = 8


def frozen(network: nn.Module) -> nn.Module:
    """``network`` with frozen batch norms: statistics, scale and shift are those of now, and no parameters.

    detectron2's ``FrozenBatchNorm2d.convert_frozen_batchnorm`` would drop the activation in timm's ``BatchNormAct2d``.
    """
    from timm.layers import freeze_batch_norm_2d

    return freeze_batch_norm_2d(network)


def synchronized(network: nn.Module) -> nn.Module:
    """``network`` with torch's SyncBN; torch's own conversion would drop the activation in ``BatchNormAct2d``."""
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(network)


def replaced(network: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    """``network`` with what ``make`` gives for each of its batch norms in the norm's place."""
    if isinstance(network, _BatchNorm):
        return make(network)
    for name, child in list(network.named_children()):
        setattr(network, name, replaced(child, make))
    return network


def grouped(network: nn.Module) -> nn.Module:
    """``network`` with group norms of new parameters: 8 groups, or as many as divide the channels.

    Differs from: detectron2's "GN", which has 32 groups; narrow layers do not divide into them.
    """
    return replaced(network, _group_norm)


def _group_norm(norm: _BatchNorm) -> nn.GroupNorm:
    from timm.layers import BatchNormAct2d, GroupNormAct

    channels = norm.num_features
    groups = max(count for count in range(1, MOST_GROUPS + 1) if channels % count == 0)
    if not isinstance(norm, BatchNormAct2d):
        return nn.GroupNorm(groups, channels)
    replacement = GroupNormAct(channels, groups, apply_act=False)
    replacement.drop, replacement.act = norm.drop, norm.act
    return replacement


class NaiveSyncBatchNormAct(NaiveSyncBatchNorm):
    """detectron2's SyncBN, which runs on CPUs too, with the dropout and the activation of a ``BatchNormAct2d``."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) of the same shape."""
        return self.act(self.drop(super().forward(x)))


def naively_synchronized(network: nn.Module, stats_mode: str) -> nn.Module:
    """``network`` with detectron2's SyncBN.

    Args:
        network: has batch norms.
        stats_mode: "" where every process counts alike, "N" where every sample does.
    """
    return replaced(network, partial(_naive_norm, stats_mode=stats_mode))


def _naive_norm(norm: _BatchNorm, stats_mode: str) -> NaiveSyncBatchNorm:
    from timm.layers import BatchNormAct2d

    kind = NaiveSyncBatchNormAct if isinstance(norm, BatchNormAct2d) else NaiveSyncBatchNorm
    replacement = kind(norm.num_features, norm.eps, norm.momentum, stats_mode=stats_mode)
    replacement.load_state_dict(norm.state_dict())
    if isinstance(norm, BatchNormAct2d):
        replacement.drop, replacement.act = norm.drop, norm.act
    return replacement


def has_batch_norm(network: nn.Module) -> bool:
    """Whether there is a norm that the functions above would replace."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def as_it_is(network: nn.Module) -> nn.Module:
    """``network``."""
    return network


NORMS: dict[str, Callable[[nn.Module], nn.Module]] = {  # by detectron2's names
    "BN": as_it_is,
    "FrozenBN": frozen,
    "GN": grouped,
    "SyncBN": synchronized,
    "naiveSyncBN": partial(naively_synchronized, stats_mode=""),
    "naiveSyncBN_N": partial(naively_synchronized, stats_mode="N"),
}
