"""Heads of depth and of normals: losses by hand and against numpy, over processes, and where nothing is labelled."""

import threading

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from small import Ranks
from torch.nn import functional as F

from mtl_d2.modeling.heads.dense import DepthHead, NormalsHead
from mtl_d2.modeling.heads.dense_losses import (
    ACTIVATIONS,
    DEPTH_LOSSES,
    NORMALS_LOSSES,
    POSITIVE,
    depth_loss,
    normals_loss,
)
from mtl_d2.modeling.heads.map_layers import FPNLayers
from mtl_d2.parallel.reduction import Reduction

SHAPES = {"p2": ShapeSpec(channels=8, stride=4), "p3": ShapeSpec(channels=8, stride=8)}
DEPTHS = [
    (loss, activation)
    for loss in DEPTH_LOSSES
    for activation in ACTIVATIONS
    if activation in POSITIVE or loss != "si_log"
]
HEADS = [*(("depth", *one) for one in DEPTHS), *(("normals", loss, "") for loss in NORMALS_LOSSES)]
each_head = pytest.mark.parametrize("kind", HEADS, ids="-".join)


def head(kind, seed=0, **options):
    torch.manual_seed(seed)
    name, loss, activation = kind
    layers = FPNLayers(SHAPES, 1 if name == "depth" else 3, conv_dims=8, common_stride=4, norm="")
    chosen = {"loss": loss, **options}
    return DepthHead(layers, activation=activation, **chosen) if name == "depth" else NormalsHead(layers, **chosen)


def features(n, seed=0, size=(32, 48)):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(n, 8, size[0] // shape.stride, size[1] // shape.stride, generator=generator)
        for name, shape in SHAPES.items()
    }


def labels(kind, n, seed=0, size=(32, 48), share=0.6):
    """Depths of 1 to 5 metres, or unit vectors; a share of the pixels is labelled, another one in each image."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        labelled = torch.rand(size, generator=generator) < share / (i + 1)
        values = torch.randn(3, *size, generator=generator)
        values = F.normalize(values, dim=0) if kind[0] == "normals" else 1 + 4 * torch.rand(size, generator=generator)
        found.append(values * labelled)
    return found


def loss(layers, maps, targets, reduction=None):
    (value,) = layers.task_losses(maps, targets, reduction or Reduction(), torch.device("cpu")).values()
    return value


def test_depth_losses_by_hand():
    output = torch.tensor([1.0, 3.0, 9.0, 2.0]).reshape(1, 1, 1, 4)
    target = torch.tensor([2.0, 3.0, 0.0, 6.0]).reshape(1, 1, 1, 4)
    labelled = target[:, 0] != 0
    for name, total in (("l1", 1 + 0 + 4), ("mse", 1 + 0 + 16)):
        one = depth_loss(name, ACTIVATIONS["linear"])
        assert one.terms(output, target, labelled).tolist() == [total]
        assert one.counts(labelled).tolist() == [3]
    d = np.log([0.5, 1, 1 / 3])
    one = depth_loss("si_log", ACTIVATIONS["exp"], share=0.5)
    assert one.terms(output.log(), target, labelled).tolist() == pytest.approx([(d**2).mean() - 0.5 * d.mean() ** 2])
    assert one.counts(labelled).tolist() == [1]


def test_a_scale_costs_nothing_where_lambda_is_one():
    target = torch.rand(2, 1, 5, 5) + 0.5
    one = depth_loss("si_log", ACTIVATIONS["exp"], share=1.0)
    terms = one.terms((7 * target).log(), target, target[:, 0] > 0)
    torch.testing.assert_close(terms, torch.zeros(2), atol=1e-6, rtol=0)


def test_normals_losses_by_hand():
    # Right; at a right angle; opposite. Outputs are scaled to length 1 first.
    output = torch.tensor([[2.0, 0, 0], [0, 3, 0], [0, 0, -4]]).T.reshape(1, 3, 1, 3)
    target = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 3)
    labelled = torch.ones(1, 1, 3, dtype=torch.bool)
    for name, total in (("cosine", 0 + 1 + 2), ("l1", (2 + 2) / 3), ("mse", (2 + 4) / 3)):
        assert normals_loss(name).terms(output, target, labelled).tolist() == pytest.approx([total])


@pytest.mark.parametrize("activation", POSITIVE)
def test_the_logarithm_of_depth_is_finite_for_any_output(activation):
    output = torch.tensor([-200.0, -20, -15, -14.9, 0, 3, 80], requires_grad=True)
    log = ACTIVATIONS[activation].log(output)
    exact = output.detach().double()
    expected = exact if activation == "exp" else torch.log(torch.log1p(exact.exp()))
    torch.testing.assert_close(log.double()[1:], expected[1:], rtol=1e-5, atol=1e-6)
    log.sum().backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad > 0).all()


@each_head
def test_the_loss_is_a_mean_over_the_labels_of_all_samples(kind):
    layers, maps, targets = head(kind, loss_weight=2.0), features(3), labels(kind, 3)
    with torch.no_grad():
        values = layers.double()({k: v.double() for k, v in maps.items()})[0].numpy()
    truth = np.stack([t.reshape(-1, 32, 48).double().numpy() for t in targets])
    seen = (truth != 0).any(1)
    difference = np.moveaxis(values - truth, 1, -1)[seen]
    expected = {"l1": np.abs(difference).mean(), "mse": (difference**2).mean()}
    expected["cosine"] = (1 - (values * truth).sum(1)[seen]).mean()
    if kind[1] == "si_log":
        logs = [np.log(p[0][s]) - np.log(t[0][s]) for p, t, s in zip(values, truth, seen, strict=True)]
        expected["si_log"] = np.mean([(d**2).mean() - 0.5 * d.mean() ** 2 for d in logs])
    found = loss(layers.float(), maps, targets)
    assert found.item() == pytest.approx(2 * expected[kind[1]], rel=1e-4)


@each_head
def test_padding_and_images_without_a_label_change_nothing(kind):
    layers, targets = head(kind), labels(kind, 2, size=(20, 30))
    padded = [F.pad(t, (0, 18, 0, 12)) for t in targets]
    maps = features(2)
    assert loss(layers, maps, targets) == loss(layers, maps, padded)
    third = {k: torch.cat([v, 100 * v[:1]]) for k, v in maps.items()}
    found = loss(layers, third, [*padded, torch.zeros_like(padded[0])])
    assert found.item() == pytest.approx(loss(layers, maps, padded).item(), rel=1e-5)


@each_head
def test_no_label_at_all_is_a_loss_of_zero_with_a_graph(kind):
    layers = head(kind)
    maps = {k: 1e4 * v for k, v in features(2).items()}  # exp overflows there
    found = loss(layers, maps, [torch.zeros_like(one) for one in labels(kind, 2)])
    found.backward()
    assert found == 0
    assert all((p.grad == 0).all() for p in layers.parameters())


@each_head
def test_two_processes_have_the_loss_of_one(kind):
    maps, targets = {k: v.double() for k, v in features(3).items()}, [t.double() for t in labels(kind, 3)]
    whole = head(kind).double()
    loss(whole, maps, targets).backward()
    models, losses = [head(kind).double() for _ in range(2)], [None, None]

    def process(rank, chosen):
        own = {k: v[chosen] for k, v in maps.items()}
        losses[rank] = loss(models[rank], own, [targets[i] for i in chosen], Ranks(rank))
        losses[rank].backward()

    threads = [threading.Thread(target=process, args=one) for one in ((0, [0]), (1, [1, 2]))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(losses).item() / 2 == pytest.approx(loss(whole, maps, targets).item(), rel=1e-12)
    for p, first, second in zip(whole.parameters(), *(m.parameters() for m in models), strict=True):
        torch.testing.assert_close((first.grad + second.grad) / 2, p.grad, rtol=1e-10, atol=1e-14)


class Calls(Reduction):
    def __init__(self):
        self.calls = 0

    def total(self, value):
        self.calls += 1
        return value


@each_head
def test_a_process_without_samples_takes_part_in_the_count(kind):
    layers, of_some, of_none = head(kind), Calls(), Calls()
    loss(layers, features(1), labels(kind, 1), of_some)
    assert layers.task_losses(features(0), [], of_none, torch.device("cpu")) == {}
    assert of_none.calls == of_some.calls


@each_head
def test_half_precision_has_single_losses(kind):
    layers = head(kind)
    whole = loss(layers, features(2), labels(kind, 2))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(layers, features(2), labels(kind, 2))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(whole.item(), rel=0.05)


def test_predicted_normals_have_length_one_and_positive_depth_is_positive():
    normals, _ = head(("normals", "cosine", ""))(features(2))
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 32, 48))
    for activation in POSITIVE:
        assert (head(("depth", "l1", activation))(features(2))[0] > 0).all()


def test_a_logarithm_needs_positive_depth():
    with pytest.raises(ValueError, match="'si_log' needs the activation 'exp' or 'softplus'"):
        head(("depth", "si_log", "linear"))
