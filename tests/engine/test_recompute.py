"""A trunk that keeps its blocks' activations and one that computes them again learn the same, bit for bit."""

import copy

import pytest
import torch
from dense_networks import TASKS, dense_batch, small_dense_cfg
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from small import sample, small_cfg
from torch import nn

from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.speed import speed_up
from mtl_d2.modeling.recompute import blocks_of, recompute

pytestmark = pytest.mark.filterwarnings("ignore")


def dense(name):
    return small_dense_cfg(name), dense_batch(TASKS, ("depth",), size=(32, 64))


def fcos(norm):
    cfg = small_cfg()
    cfg.MODEL.TIMM.NORM = norm
    return cfg, [sample("detection", seed=0), sample("detection", "semantic", seed=1), sample("semantic", seed=2)]


CASES = {
    "segnet with a decoder": lambda: dense("split"),
    "mtan": lambda: dense("mtan"),
    "dilated resnet": lambda: dense("deeplabv3"),
    "fcos, some tasks an image": lambda: fcos("BN"),
}


def learnt(model, samples, accumulate=1):
    """Rows, heads' gradients, losses, and what the trunk's buffers are afterwards."""
    torch.manual_seed(0)
    oracle = Oracle(model.train(), accumulate=accumulate)
    oracle.load(samples)
    with EventStorage(), torch.jit.optimized_execution(False):
        gradients = oracle.gradients()
        oracle.read(gradients)
    tensors = [t for part in (*gradients.rows, *gradients.heads) for t in part if t is not None]
    return [*tensors, gradients.losses, *model.buffers()]


def pair(cfg):
    """The model as it is, and one that computes again."""
    torch.manual_seed(0)
    plain = build_model(cfg)
    again = copy.deepcopy(plain)
    cfg.MTL.RECOMPUTE = True
    speed_up(again, cfg)
    assert list(again.state_dict()) == list(plain.state_dict())
    return plain, again


@pytest.mark.parametrize("case", CASES)
def test_gradients_losses_and_statistics_are_equal(case):
    cfg, samples = CASES[case]()
    plain, again = pair(cfg)
    expected, found = (learnt(model, samples) for model in (plain, again))
    assert len(expected) == len(found) > 0
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_micro_batches():
    cfg, samples = dense("split")
    expected, found = (learnt(model, samples, accumulate=2) for model in pair(cfg))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


class Residual(nn.Module):
    """Two convolutions with dropout."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def residual_trunk():
    torch.manual_seed(0)
    return nn.Sequential(*(Residual() for _ in range(4)))


def test_dropout_is_drawn_once():
    plain, again = residual_trunk(), residual_trunk()
    recompute(again)
    images = torch.randn(2, 4, 8, 8)
    found = []
    for trunk in (plain, again):
        torch.manual_seed(1)
        output = trunk(images)
        found.append(torch.autograd.grad(output.square().sum(), list(trunk.parameters())))
        found[-1] += (torch.rand(3),)  # the generator goes on from the same place
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def kept_numbers(trunk, images):
    """How many numbers a forward pass keeps for backward passes, parameters left out."""
    kept, known = {}, {p.untyped_storage().data_ptr() for p in trunk.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = tensor.numel(), storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = trunk(images)
    del output
    return sum(count for count, _ in kept.values())


def test_nothing_of_a_block_is_kept_but_what_it_is_given():
    plain, again = residual_trunk(), residual_trunk()
    recompute(again)
    images = torch.randn(2, 4, 8, 8, requires_grad=True)
    assert kept_numbers(again, images) == 4 * images.numel()
    assert kept_numbers(plain, images) > 4 * 4 * images.numel()


def test_second_derivatives():
    plain, again = residual_trunk(), residual_trunk()
    recompute(again)
    images, found = torch.randn(2, 4, 8, 8), []
    for trunk in (plain, again):
        torch.manual_seed(1)
        parameters = list(trunk.parameters())
        first = torch.autograd.grad(trunk(images).square().sum(), parameters, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), parameters))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*found, strict=True))


class OfSeveral(nn.Module):
    """Takes a list of maps, and puts what it makes of them into that list, as HRNet's blocks do."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])

    def forward(self, maps, factor=1.0):
        for i, layer in enumerate(self.layers):
            maps[i] = layer(maps[i]).sigmoid() * factor
        return [maps[0] + maps[1], maps[0] - maps[1]]


def test_blocks_that_write_into_the_list_they_are_given():
    torch.manual_seed(0)
    plain = nn.ModuleList([OfSeveral(), OfSeveral()])
    again = copy.deepcopy(plain)
    recompute(again)
    images, found = torch.randn(2, 4, 8, 8), []
    for trunk in (plain, again):
        maps = [images, images]
        for block in trunk:
            maps = block(list(maps), factor=2.0)
        found.append(torch.autograd.grad(maps[1].square().sum(), list(trunk.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_block_that_changes_its_map_in_place_is_refused():
    class InPlace(Residual):
        def forward(self, x):
            return self.layers(x.mul_(2))

    trunk = nn.Sequential(InPlace())
    recompute(trunk)
    with pytest.raises(ValueError, match="InPlace changes what it is given in place"):
        trunk(torch.randn(2, 4, 8, 8))


def test_blocks_are_not_within_each_other():
    cfg, _ = fcos("GN")
    blocks = list(blocks_of(build_model(cfg).backbone))
    inside = [inner for block in blocks for inner in block.modules() if inner is not block]
    assert len(blocks) >= 3
    assert not set(map(id, blocks)) & set(map(id, inside))


def test_trunk_that_cannot():
    cfg, _ = dense("deeplabv3")
    cfg.MTL.RECOMPUTE = True
    model = build_model(cfg).train()
    model.backbone.add_module("norm", nn.SyncBatchNorm(3))
    with pytest.raises(ConfigError, match=r"^MTL\.RECOMPUTE cannot be True: .* synchronized .*: take another norm, or"):
        speed_up(model, cfg)
    model.backbone = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match=r"^MTL\.RECOMPUTE cannot be True: Sequential has no blocks of 2"):
        speed_up(model, cfg)


def test_compiled_trunks_are_not_computed_again():
    cfg = small_cfg()
    cfg.MTL.COMPILE = cfg.MTL.RECOMPUTE = True
    with pytest.raises(ConfigError, match=r"MTL\.COMPILE and MTL\.RECOMPUTE do not go together"):
        check_mtl_config(cfg)
