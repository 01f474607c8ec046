"""The models' losses of ground truth and pseudo labels, in float64, against the formula written out."""

import pytest
import torch
from dense_networks import small_dense_cfg
from detectron2.modeling.meta_arch import fcos
from fvcore.nn import sigmoid_focal_loss
from small import small_cfg, small_rcnn_cfg
from small_retinanet import in_double, small_retinanet_cfg
from taught import WEIGHTS, of_one_source, taught_sample, twins
from torch import nn

from mtl_d2.balancing import Oracle
from mtl_d2.parallel.reduction import Reduction

D, S, B, N = ("detection",), ("semantic",), ("detection", "semantic"), ()
M = ("detection", "instance")
DENSE = ("semantic", "depth", "normals")
GN = {f"{head}__NORM": "" for head in ("SEM_SEG_HEAD", "DEPTH_HEAD", "NORMALS_HEAD")}
MODELS = {
    "fcos": (lambda: small_cfg(*B), [(D, B), (S, B), (B, N), (D, S)], nn.Module.double),
    "retinanet": (lambda: small_retinanet_cfg(*B), [(D, B), (S, B), (B, N), (D, S)], in_double),
    "mask r-cnn": (lambda: small_rcnn_cfg(*M, "semantic"), [(M, M), (S, M), (D, S), (M, D)], nn.Module.double),
    "dense": (
        lambda: small_dense_cfg("split", **GN),
        [(S, DENSE), (("depth", "normals"), S), (N, DENSE)],
        nn.Module.double,
    ),
}


@pytest.fixture
def exact(float64, monkeypatch, request):
    """FCOS's focal and centerness losses work in float32 whatever they get; Mask R-CNN's suppression needs it."""
    if "mask r-cnn" in request.node.name:
        return
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x if x.dtype == torch.float64 else x.to(torch.float32))
    monkeypatch.setattr(fcos, "sigmoid_focal_loss_jit", sigmoid_focal_loss)


def made(name):
    build, labelled, prepare = MODELS[name]
    two, one = twins(build(), prepare)
    return two, one, [taught_sample(*pair, seed=i) for i, pair in enumerate(labelled)]


def formula(model, samples, task):
    """w_gt L_gt + w_pseudo L_pseudo, by a model that knows one source, with a normalizer of its own for each."""
    start = {name: buffer.clone() for name, buffer in model.named_buffers() if "normalizer" in name}
    features, loss = model.shared_features(model.batch_images(samples)), 0.0
    for weight, prefix in zip(WEIGHTS, ("", "pseudo/"), strict=True):
        chosen = of_one_source(samples, prefix, task)
        if chosen:
            rows = [int(sample["position"]) for sample in chosen]
            own = {name: feature[rows] for name, feature in features.items()}
            loss = loss + weight * sum(model.task_losses(task, own, chosen, Reduction()).values())
        for name, value in start.items():
            model.get_buffer(name).copy_(value)
    return loss


@pytest.mark.parametrize("name", MODELS)
def test_task_gradients_are_those_of_the_formula(exact, name):
    two, one, samples = made(name)
    oracle = Oracle(two)
    oracle.load(samples)
    found = oracle.gradients()
    for i, task in enumerate(oracle.names):
        loss = formula(one, samples, task)
        assert found.losses[i].item() == pytest.approx(loss.item(), rel=1e-9)
        loss.backward()
        expected = {n: p.grad for n, p in one.named_parameters()}
        ours = dict(zip(map(id, [*oracle.shared, *oracle.heads[i]]), [*found.rows[i], *found.heads[i]], strict=True))
        for n, parameter in two.named_parameters():
            gradient, wanted = ours.get(id(parameter)), expected[n]
            if wanted is not None:
                assert (gradient - wanted).norm() <= 1e-9 * wanted.norm() + 1e-13, n
        one.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", MODELS)
def test_loss_dict_of_other_trainers_adds_up_to_the_same(exact, name):
    two, one, samples = made(name)
    losses = two(samples)
    assert set(losses) == {key for task in two.tasks for key in task.loss_keys}
    expected = sum(formula(one, samples, task.name).item() for task in two.tasks)
    assert sum(losses.values()).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("left_out", "terms"), [("pseudo/", "pseudo/loss_"), ("", "loss_")])
def test_a_source_without_samples_is_0_in_the_loss_dict_and_is_not_made_up_for(exact, left_out, terms):
    two, one, _ = made("fcos")
    samples = [taught_sample(*((B, N) if left_out else (N, B)), seed=i) for i in range(2)]
    losses = two(samples)
    absent = {key for key in losses if key.startswith(terms)}
    assert absent
    assert all(losses[key] == 0 for key in absent)
    expected = sum(formula(one, samples, task).item() for task in B)
    assert sum(losses.values()).item() == pytest.approx(expected, rel=1e-9)


def test_each_source_has_a_normalizer_that_its_own_positives_move():
    two, one, _ = made("fcos")
    assert "pseudo_loss_normalizer" not in one.state_dict()
    two([taught_sample(N, D)])
    assert two.loss_normalizer == 300
    assert two.pseudo_loss_normalizer != 300


@pytest.mark.parametrize(("name", "times"), [("fcos", 1), ("retinanet", 1), ("dense", 1)])
def test_layers_of_a_head_run_once_for_a_sample_with_both_labels(name, times):
    two, _, samples = made(name)
    heads = [module for task in two.tasks for module in (two.get_submodule(task.head_modules[0]),)]
    seen = []
    for head in heads:
        layers = next(m for m in head.modules() if isinstance(m, nn.Conv2d))
        layers.register_forward_hook(lambda m, args, out: seen.append((m, len(args[0]))))
    oracle = Oracle(two)
    oracle.load(samples)
    oracle.gradients()
    levels = len(two.head_in_features) if name != "dense" else 1
    for task in two.tasks:
        supervised = sum(task.name in s["tasks"] for s in samples)
        layers = next(m for m in two.get_submodule(task.head_modules[0]).modules() if isinstance(m, nn.Conv2d))
        passes = sum(count for module, count in seen if module is layers)
        assert passes == supervised * (levels if task.name == "detection" else 1) * times


def test_masks_of_an_update_see_the_proposals_of_their_own_source():
    two, _, samples = made("mask r-cnn")
    oracle = Oracle(two)
    oracle.load(samples[:1])
    oracle.gradients()
    (sample,) = oracle.batch.samples
    taught = sample["labels of pseudo/"]
    assert "sampled_proposals" in sample
    assert "sampled_proposals" in taught
    assert taught["sampled_proposals"] is not sample["sampled_proposals"]
