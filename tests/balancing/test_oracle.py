import pytest
import torch
from torch import nn
from toy import balancer, batch, mclgs, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.batch import partition
from mtl_d2.balancing.exact.rows import combine
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import head_parameters, shared_parameters

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
MIXTURES = {
    "same images": [B] * 5,
    "disjoint images": [D, S, S, D],
    "some of both": [D, B, S, B, ()],
    "three tasks": [("detection", "semantic", "depth"), S, ("depth",), ("detection", "depth")],
}


def naive_rows(model, samples):
    """Each task's gradient by a forward and a backward of its own over the whole batch."""
    losses, rows, heads = [], [], []
    shared = shared_parameters(model, model.tasks)
    for task in model.tasks:
        own = [i for i, s in enumerate(samples) if task.name in s["tasks"]]
        features = {k: f[own] for k, f in model.shared_features(model.batch_images(samples)).items()}
        terms = model.task_losses(task.name, features, [samples[i] for i in own], Reduction())
        loss = sum(terms.values())
        head = head_parameters(model, task)
        found = torch.autograd.grad(loss, [*shared, *head], allow_unused=True)
        losses.append(loss.item())
        known = [torch.zeros_like(p) if g is None else g for g, p in zip(found, shared, strict=False)]
        rows.append(torch.cat([g.flatten() for g in known]))
        heads.append(torch.cat([g.flatten() for g in found[len(shared) :]]))
    return losses, torch.stack(rows), heads


def gradients(model, samples, built, weights=()):
    model.zero_grad()
    oracle = Oracle(model)
    oracle.load(samples)
    T = len(model.tasks)
    return balancer(T, built, scalarization(T, weights=weights))(oracle, 0, lambda: None)


def flat_grad(parameters):
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("name", MIXTURES)
def test_rows_are_the_gradients_of_each_task_alone(name, norm):
    T = 3 if "three" in name else 2
    samples = batch(*MIXTURES[name])
    model = toy(T, nn.BatchNorm1d(6) if norm else None)
    losses, rows, heads = naive_rows(model, samples)
    c = (1.7, 0.3, 2.0)[:T]
    result = gradients(model, samples, stage(T, "mean", mclgs(T, a0=0.7)), c)
    assert result.losses.tolist() == pytest.approx(losses, rel=1e-12)
    torch.testing.assert_close(result.gramian, rows @ rows.T, rtol=1e-11, atol=1e-14)
    total = result.weights.shared * torch.tensor(c, dtype=torch.float64)
    shared = shared_parameters(model, model.tasks)
    torch.testing.assert_close(flat_grad(shared), total @ rows, rtol=1e-11, atol=1e-14)
    for i, task in enumerate(model.tasks):
        expected = result.weights.heads[i] * c[i] * heads[i]
        torch.testing.assert_close(flat_grad(head_parameters(model, task)), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", MIXTURES)
def test_constant_weights_take_one_backward_and_give_the_same(name):
    T = 3 if "three" in name else 2
    samples = batch(*MIXTURES[name])
    model = toy(T)
    gradients(model, samples, stage(T, "mean"), (1.7, 0.3, 2.0)[:T])
    plain = flat_grad(model.parameters())
    gradients(model, samples, stage(T, "mean", mclgs(T, a0=0.0)), (1.7, 0.3, 2.0)[:T])
    torch.testing.assert_close(flat_grad(model.parameters()), plain, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scaling", [None, "mclgs"])
def test_absent_task_leaves_its_head_unchanged(scaling):
    model = toy(2)
    result = gradients(model, batch(D, D), stage(2, "mean", mclgs(2) if scaling else None))
    assert result.present.tolist() == [True, False]
    assert all(p.grad is None for p in model.heads["semantic"].parameters())
    assert all(p.grad is not None for p in model.heads["detection"].parameters())
    assert model.fine.weight.grad is None  # only the semantic head looks at it
    assert list(result.terms) == ["loss_detection"]


@pytest.mark.parametrize("scaling", [None, "mclgs"])
def test_parameters_that_no_task_uses_stay_without_gradient(scaling):
    model = toy(2)
    gradients(model, batch(B, B), stage(2, "mean", mclgs(2) if scaling else None))
    assert model.unused.weight.grad is None


def test_frozen_parameters_are_not_differentiated():
    model = toy(2)
    model.trunk[0].requires_grad_(False)
    result = gradients(model, batch(D, S), stage(2, "mean", mclgs(2)))
    assert model.trunk[0].weight.grad is None
    assert (result.gramian.diagonal() > 0).all()


def test_fully_frozen_trunk_trains_the_heads():
    model = toy(2)
    for part in (model.trunk, model.fine, model.unused):
        part.requires_grad_(False)
    gradients(model, batch(D, S), stage(2, "mean", mclgs(2)))
    assert all(p.grad is not None for head in model.heads.values() for p in head.parameters())


@pytest.mark.parametrize("scaling", [None, "mclgs"])
def test_non_finite_loss_names_task_and_images_and_touches_nothing(scaling):
    model = toy(2)
    samples = batch(D, S)
    samples[1] |= {"target": torch.tensor(float("nan"), dtype=torch.float64), "file_name": "night.jpg"}
    with pytest.raises(FloatingPointError, match=r"update 0: the loss is not finite for task semantic.*night\.jpg"):
        gradients(model, samples, stage(2, "mean", mclgs(2) if scaling else None))
    assert all(p.grad is None for p in model.parameters())


def test_non_finite_gradient_of_a_finite_loss_is_caught():
    model = toy(2)
    model.fine.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(FloatingPointError, match="squared gradient norm is not finite for task semantic") as error:
        gradients(model, batch(D, S), stage(2, "mean", mclgs(2)))
    assert "It comes from task semantic in process 0. Lower SOLVER.BASE_LR" in str(error.value)
    assert all(p.grad is None for p in model.parameters())


def test_features_take_no_memory_once_the_heads_have_run():
    model = toy(2)
    oracle = Oracle(model)
    oracle.load(batch(D, S, B))
    found = oracle.feature_gradients()
    assert {group.tasks for group in found.groups} == {D, S, B}
    for group in found.groups:
        assert group.leaves == {}
        assert all(f.untyped_storage().nbytes() == f.element_size() for f in group.features.values())
        assert all(f.shape == (1, 3) and f.grad_fn is not None for f in group.features.values())


def test_each_image_crosses_the_trunk_once_where_images_are_disjoint():
    model = toy(2)
    seen = []
    model.trunk.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    gradients(model, batch(D, S, S), stage(2, "mean", mclgs(2)))
    assert sorted(seen) == [1, 2]


def test_batch_norm_sees_the_whole_batch_once():
    norm = nn.BatchNorm1d(6)
    model = toy(2, norm)
    gradients(model, batch(D, S, S), stage(2, "mean", mclgs(2)))
    assert norm.num_batches_tracked == 1


def test_partition_by_task_set():
    groups = partition([D, S, B, (), D], together=False)
    assert [(g.indices, g.tasks) for g in groups] == [([0, 4], D), ([1], S), ([2], B)]
    assert [(g.indices, g.tasks) for g in partition([D, (), S], together=True)] == [([0, 1, 2], B)]


def test_rows_that_hold_one_tensor_twice_are_not_scaled_twice():
    g = torch.ones(2)
    assert [x.tolist() for x in combine([[g, g], [g, g]], [2.0, 3.0])] == [[5.0, 5.0], [5.0, 5.0]]
