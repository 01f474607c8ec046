"""Settings for speed change no value and no name."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage
from small import sample, small_cfg, small_model
from torch import nn

from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.speed import speed_up

pytestmark = pytest.mark.filterwarnings("ignore")
B = ("detection", "semantic")


def rows(cfg):
    model = small_model(cfg=cfg)
    names = list(model.state_dict())
    speed_up(model, cfg)
    assert list(model.state_dict()) == names
    oracle = Oracle(model)
    oracle.load([sample(*B, seed=0), sample(*B, seed=1)])
    with EventStorage(), torch.jit.optimized_execution(False):
        found = oracle.gradients().rows
    return [torch.cat([g.flatten() for g in row if g is not None]) for row in found], model


def test_channels_last_gives_the_same_gradients():
    cfg = small_cfg(*B)
    plain, _ = rows(cfg)
    cfg.MTL.CHANNELS_LAST = True
    last, model = rows(cfg)
    for one, other in zip(plain, last, strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()
    weights = [m.weight for m in model.backbone.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_images_reach_the_trunk_with_channels_last():
    seen = []
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 3)
    model.backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    speed_up(model, SimpleNamespace(MTL=SimpleNamespace(CHANNELS_LAST=True, RECOMPUTE=False, COMPILE=False)))
    model.backbone(torch.randn(2, 3, 8, 8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_trunk_gives_the_same_gradients_at_any_size_and_keeps_its_names():
    """A trunk of a few layers: to compile a whole one takes minutes."""

    def build():
        torch.manual_seed(0)
        model = nn.Module()
        model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        return model

    plain, compiled = build(), build()
    speed_up(compiled, SimpleNamespace(MTL=SimpleNamespace(CHANNELS_LAST=False, RECOMPUTE=False, COMPILE=True)))
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for size in ((16, 24), (20, 16), (32, 40)):
        images = torch.randn(2, 3, *size)
        found = []
        for model in (plain, compiled):
            output = model.backbone(images)
            parameters = list(model.parameters())
            for k in range(2):  # as two tasks do
                found.append(torch.autograd.grad(output, parameters, torch.ones_like(output), retain_graph=k == 0))
        for gradients in found[1:]:
            torch.testing.assert_close(gradients, found[0], rtol=1e-4, atol=1e-4)


def test_compiled_trunk_has_no_second_derivatives(cfg):
    cfg.MTL.COMPILE, cfg.MTL.REGULARIZER.NAME = True, "cosreg"
    with pytest.raises(ConfigError, match=r"MTL\.COMPILE does not go with MTL\.REGULARIZER\.NAME 'cosreg'"):
        check_mtl_config(cfg)
    cfg.MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD = "finite"
    check_mtl_config(cfg)
