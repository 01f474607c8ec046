"""A trunk that keeps its blocks' activations and one that computes them again learn the same, bit for bit."""

import copy
from functools import partial

import pytest
import torch
from dense_networks import TASKS, dense_batch, small_dense_cfg
from detectron2.modeling import build_model
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.utils.events import EventStorage
from small import of_two_processes, sample, small_cfg
from torch import nn

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.speed import speed_up
from mtl_d2.modeling.heads.partial_classes import HiddenClasses
from mtl_d2.modeling.recompute import blocks_of, recompute
from mtl_d2.parallel.reduction import Reduction

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


def learnt(model, samples, **options):
    """Rows, heads' gradients, losses, and what the trunk's buffers are afterwards."""
    torch.manual_seed(0)
    oracle = Oracle(model.train(), **options)
    oracle.load(samples)
    with EventStorage(), torch.jit.optimized_execution(False):
        gradients = oracle.gradients()
        oracle.read(gradients)
    return numbers_of(model, gradients)


def numbers_of(model, gradients):
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


def test_half_precision():
    cfg, samples = fcos("GN")
    expected, found = (learnt(model, samples, precision=Precision(torch.bfloat16)) for model in pair(cfg))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_two_processes():
    cfg, samples = dense("mtan")
    runs = [[copy.deepcopy(model) for _ in range(2)] for model in pair(cfg)]
    expected, found = ([numbers_of(*p) for p in zip(r, of_two_processes(r, samples), strict=True)] for r in runs)
    for of_plain, of_again in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(of_plain, of_again, strict=True))


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


def one_by_one(trunk, images):
    for block in trunk:
        images = block(images)
    return images


@pytest.mark.parametrize("call", [nn.Sequential.__call__, one_by_one], ids=["together", "one by one"])
def test_dropout_is_drawn_once(call):
    plain, again = residual_trunk(), residual_trunk()
    recompute(again)
    images = torch.randn(2, 4, 8, 8)
    found = []
    for trunk in (plain, again):
        torch.manual_seed(1)
        output = call(trunk, images)
        found.append(torch.autograd.grad(output.square().sum(), list(trunk.parameters())))
        found[-1] += (torch.rand(3),)  # the generator goes on from the same place
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def kept_numbers(trunk, images, parameters):
    """How many numbers a forward pass keeps for backward passes, parameters left out."""
    kept, known = {}, {p.untyped_storage().data_ptr() for p in parameters}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = tensor.numel(), storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = trunk(images)
    del output
    return sum(count for count, _ in kept.values())


def test_nothing_of_a_stretch_is_kept_but_what_it_is_given():
    plain, again = residual_trunk(), residual_trunk()
    recompute(again)
    images = torch.randn(2, 4, 8, 8, requires_grad=True)
    parameters = list(plain.parameters()) + list(again.parameters())
    assert kept_numbers(again, images, parameters) == 2 * images.numel()  # two stretches of two blocks
    assert kept_numbers(partial(one_by_one, again), images, parameters) == 4 * images.numel()
    assert kept_numbers(plain, images, parameters) > 4 * 4 * images.numel()


class TwoLevels(Backbone):
    """The images and every second pixel of them, as if they were features; and blocks, without which it is refused."""

    def __init__(self):
        super().__init__()
        self.blocks = residual_trunk()
        self._out_features, self._out_feature_strides = ["res2", "res3"], {"res2": 16, "res3": 32}
        self._out_feature_channels = {"res2": 4, "res3": 4}

    def forward(self, x):
        return {"res2": x, "res3": x[..., ::2, ::2].clone()}


@pytest.mark.parametrize("fuse", ["sum", "avg"])
def test_a_pyramid_keeps_none_of_its_sums(fuse):
    torch.manual_seed(0)
    plain = FPN(TwoLevels(), ["res2", "res3"], 4, norm="BN", top_block=LastLevelMaxPool(), fuse_type=fuse)
    again = copy.deepcopy(plain)
    recompute(again)
    images, found, kept = torch.randn(2, 4, 8, 8, requires_grad=True), [], []
    parameters = [*plain.parameters(), *again.parameters()]
    for trunk in (plain, again):
        outputs = trunk(images)
        assert list(outputs) == ["p4", "p5", "p6"]
        reached = [p for name, p in trunk.named_parameters() if "fpn" in name]
        gradients = torch.autograd.grad(sum(f.square().sum() for f in outputs.values()), [images, *reached])
        found.append([*outputs.values(), *gradients, *trunk.buffers()])
        kept.append(kept_numbers(trunk, images, parameters))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert kept[1] <= kept[0] - 3 * images.numel()  # the sum, and what the norms of both convolutions are given


HEADS = {
    "cross entropy": {"NAME": "SemSegFPNEntropyHead"},
    "cross entropy and dice": {"NAME": "SemSegFPNDiceHead"},
    "smoothed": {"NAME": "SemSegMapHead", "LABEL_SMOOTHING": 0.1},
    "at the size of the map": {"NAME": "SemSegMapHead", "LOSS_SIZE": "map"},
}


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("partly", [False, True], ids=["all classes", "some hidden"])
def test_losses_image_by_image_are_equal_and_keep_their_scores_alone(options, partly):
    cfg = small_cfg("semantic")
    for key, value in ({"CONVS_DIM": 32} | options).items():
        cfg.MODEL.SEM_SEG_HEAD[key] = value
    plain, again = (model.sem_seg_head for model in pair(cfg))
    scores = torch.randn(3, 5, 16, 24, requires_grad=True)
    targets = [torch.randint(0, 5, (64, 96)) for _ in range(3)]
    targets[1][:30], targets[2] = 255, torch.full((40, 80), 255)
    union = torch.tensor([[True, True], [True, False], [True, True]])
    hidden = HiddenClasses(torch.tensor([1, 1, -1]), torch.tensor([1, 3]), union) if partly else None
    found = []
    for head in (plain, again):
        losses = list(head.map_losses(scores, targets, Reduction(), hidden).values())
        first = torch.autograd.grad(losses, scores, [torch.tensor(1 / 7)] * len(losses), create_graph=True)
        found.append([*losses, *first, *torch.autograd.grad(first[0].square().sum(), scores)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    # what is kept of the cross entropy alone is as large as the upsampled scores
    run = partial(again.map_losses, targets=targets, reduction=Reduction(), hidden=hidden)
    kept = kept_numbers(lambda x: list(run(x).values()), scores, [])
    assert kept <= scores.numel() + 20


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
