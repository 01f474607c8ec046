"""MTAN: attention convolutions that all tasks share have one name and exact gradients of every task."""

import copy
import io
import threading

import pytest
import torch
from dense_networks import TASKS, dense_batch, mtan_segnet, small_dense, small_dense_cfg
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from small import Ranks, of_two_processes, sample, small_cfg
from torch.nn import functional as F

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.batch import bounds
from mtl_d2.engine.build import build_balancer
from mtl_d2.engine.last_layer import last_layer_mistakes
from mtl_d2.modeling.heads.attention import SharedBlocks
from mtl_d2.parallel.reduction import Reduction

S, D, N = (("semantic",), ("depth",), ("normals",))
BATCHES = {
    "same images": [TASKS] * 2,
    "partial labels": [TASKS, S, ("depth", "normals"), TASKS],
    "one task an image": [S, D, N, D],
    "a task absent": [S, ("semantic", "normals"), (), N],
}
SIZE, WIDTHS = (32, 64), (4, 6, 8, 10, 12)
each_mtan = pytest.mark.parametrize("name", ["mtan", "mtan_deeplabv3"])


def small(name, seed=0):
    return small_dense(name, seed, SEGNET__WIDTHS=WIDTHS)


def rows_by_autograd(model, samples, accumulate=1, asked=TASKS, reduction=None):
    """(T, ...) gradients of all parameters by one graph of the whole network for each task, in each micro-batch."""
    parameters = list(model.parameters())
    rows = [[torch.zeros_like(p) for p in parameters] for _ in TASKS]
    supervised = [[t for t in model.sample_tasks(s) if t in asked] for s in samples]
    images = model.batch_images(samples)
    for first, end in bounds(len(samples), accumulate):
        features = model.shared_features(images[first:end])
        for row, task in zip(rows, TASKS, strict=True):
            own = [i for i in range(first, end) if task in supervised[i]]
            chosen = {k: f[[i - first for i in own]] for k, f in features.items()} if own else {}
            terms = model.task_losses(task, chosen, [samples[i] for i in own], reduction or Reduction())
            if not own:
                continue
            share = len(own) / sum(task in tasks for tasks in supervised)
            gradients = torch.autograd.grad(sum(terms.values()), parameters, retain_graph=True, allow_unused=True)
            for total, gradient in zip(row, gradients, strict=True):
                if gradient is not None:
                    total += share * gradient
    return {p: [row[k] for row in rows] for k, p in enumerate(parameters)}


def assert_rows(found, oracle, expected, present=TASKS):
    for i, task in enumerate(TASKS):
        assert found.present[i] == (task in present)
        for p, g in [
            *zip(oracle.shared, found.rows[i], strict=True),
            *zip(oracle.heads[i], found.heads[i], strict=True),
        ]:
            wanted = expected[p][i]
            g = torch.zeros_like(p) if g is None else g
            assert (g - wanted).norm() <= 1e-9 * wanted.norm() + 1e-13


@each_mtan
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("labels", BATCHES)
def test_gradients_of_every_task_are_those_of_autograd(name, labels, accumulate):
    model, samples = small(name).double(), dense_batch(*BATCHES[labels], size=SIZE)
    other, oracle = copy.deepcopy(model), Oracle(model, accumulate=accumulate)
    oracle.load(samples)
    found = oracle.gradients()
    by_name = rows_by_autograd(other, samples, accumulate)
    expected = {p: by_name[q] for p, q in zip(model.parameters(), other.parameters(), strict=True)}
    present = [task for task in TASKS if any(task in tasks for tasks in BATCHES[labels])]
    assert_rows(found, oracle, expected, present)
    for block in model.backbone.attention_blocks.values():
        rows = expected[next(block.parameters())]
        assert [bool(row.norm() > 0) for row in rows] == [task in present for task in TASKS]
    for (key, buffer), wanted in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(buffer, wanted, msg=lambda m, key=key: f"{key}: {m}")


@each_mtan
@pytest.mark.parametrize("asked", [("depth",), ("semantic", "normals")], ids="-".join)
def test_gradients_of_some_tasks_are_theirs_alone(name, asked):
    model, samples = small(name).double(), dense_batch(*BATCHES["partial labels"], size=SIZE)
    oracle = Oracle(model)
    oracle.load(samples)
    assert_rows(oracle.gradients(asked), oracle, rows_by_autograd(model, samples, asked=asked), asked)


@each_mtan
def test_two_processes_have_the_mean_of_their_gradients(name):
    model = small(name).double()
    samples = dense_batch(TASKS, ("semantic", "normals"), TASKS, ("depth", "semantic"), size=SIZE)
    models, references, expected = [copy.deepcopy(model) for _ in range(2)], [None, None], {}
    found = of_two_processes(models, samples)

    def process(rank):
        references[rank] = rows_by_autograd(
            copy.deepcopy(model), samples[2 * rank : 2 * rank + 2], 1, TASKS, Ranks(rank)
        )

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for p, *both in zip(models[0].parameters(), *(r.values() for r in references), strict=True):
        expected[p] = [(a + b) / 2 for a, b in zip(*both, strict=True)]
    assert_rows(found[0], Oracle(models[0]), expected)
    for one, other in zip(found[0].rows, found[1].rows, strict=True):
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


@each_mtan
def test_shared_convolutions_have_one_name_and_belong_to_no_task(name):
    model = small(name)
    blocks = list(model.backbone.attention_blocks.parameters())
    names = {id(p): key for key, p in model.named_parameters(remove_duplicate=False)}
    assert len(names) == len(list(model.named_parameters(remove_duplicate=False)))
    assert all(names[id(p)].startswith("backbone.attention_blocks.") for p in blocks)
    assert not any("attention_blocks" in key for key in model.state_dict() if not key.startswith("backbone."))
    assert [task.head_modules for task in model.tasks] == [("sem_seg_head",), ("depth_head",), ("normals_head",)]
    oracle = Oracle(model)
    shared = [id(p) for p in oracle.shared]
    assert {id(p) for p in blocks} <= set(shared)
    assert len(shared) == len(set(shared))
    assert len(shared) + sum(map(len, oracle.heads)) == len(list(model.parameters()))


def outputs(model):
    samples = dense_batch(TASKS, size=SIZE)
    with torch.no_grad():
        return torch.cat([value.flatten() for value in model.eval()(samples)[0].values()])


@each_mtan
def test_a_copy_uses_its_own_convolutions(name):
    model = small(name)
    made, before = copy.deepcopy(model), outputs(model)
    for p in made.backbone.attention_blocks.parameters():
        p.data.zero_()
    assert torch.equal(outputs(model), before)
    assert not torch.equal(outputs(made), before)


@each_mtan
def test_a_checkpoint_goes_from_one_model_to_another(name):
    model, other = small(name), small(name, seed=1)
    expected = outputs(model)
    assert not torch.equal(outputs(other), expected)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(outputs(other), expected)


def test_layers_outside_a_model_say_what_they_miss():
    with pytest.raises(RuntimeError, match="call look_into"):
        SharedBlocks()("encoder1", torch.zeros(1))


def test_a_decoder_may_end_early():
    model = build_model(small_dense_cfg("mtan", **early()))
    assert model.depth_head.common_stride == 4
    assert "decoder2" not in model.backbone.attention_blocks
    assert outputs(model).isfinite().all()


def early():
    keys = {"SEGNET__OUT_FEATURES": ["decoder3"]}
    for head in ("SEM_SEG_HEAD", "DEPTH_HEAD", "NORMALS_HEAD"):
        keys |= {f"{head}__IN_FEATURES": ["decoder3"], f"{head}__COMMON_STRIDE": 4}
    return keys


def test_attention_by_hand():
    """All masks are 1/2 and all shared convolutions double what they get: the trunk's last map goes to the head."""
    model = build_model(mtan_segnet(("depth",), SEGNET__WIDTHS=(4,) * 5)).eval()
    layers = model.depth_head.layers
    for mask in [*layers.encoder.values(), *layers.decoder.values()]:
        torch.nn.init.zeros_(mask[-3].weight)
    features = model.shared_features(torch.rand(1, 3, 32, 32))
    seen = layers.output({"decoder1": features["decoder1"] / 2})
    torch.testing.assert_close(layers(features), seen, rtol=1e-4, atol=1e-6)


def test_masks_follow_the_published_order_of_maps():
    """A shared convolution gets mask times map; the next mask gets the trunk's map and what was pooled of it."""
    model = small_dense("mtan").eval()
    layers, blocks, seen = model.depth_head.layers, model.backbone.attention_blocks, {}
    for key, module in [*blocks.items(), *((f"mask{s}", m) for s, m in layers.encoder.items())]:
        module.register_forward_hook(
            lambda m, given, made, key=key: seen.update({key: (given[0].clone(), made.clone())})
        )
    features = model.shared_features(torch.rand(1, 3, 64, 64))
    layers(features)
    for stage in range(1, 6):
        given, made = seen[f"encoder{stage}"]
        torch.testing.assert_close(given, seen[f"mask{stage}"][1] * features[f"last{stage}"])
        if stage < 5:
            expected = torch.cat([features[f"first{stage + 1}"], F.max_pool2d(made, 2)], 1)
            torch.testing.assert_close(seen[f"mask{stage + 1}"][0], expected)
    upsampled = F.interpolate(F.max_pool2d(seen["encoder5"][1], 2), scale_factor=2, mode="bilinear", align_corners=True)
    torch.testing.assert_close(seen["decoder5"][0], upsampled)


LAST = "backbone.attention_blocks.decoder1.0"


def with_cosreg():
    cfg = small_dense_cfg("mtan", SEGNET__WIDTHS=WIDTHS)
    cfg.MTL.LAST_SHARED_LAYER, cfg.MTL.REGULARIZER.NAME = (LAST,), "cosreg"
    return cfg


def test_a_shared_convolution_may_be_the_last_shared_layer():
    cfg = with_cosreg()
    assert last_layer_mistakes(small("mtan"), build_balancer(cfg), cfg) == []
    cfg.MTL.LAST_SHARED_LAYER = ("depth_head",)
    assert "belongs to the head of task depth" in last_layer_mistakes(small("mtan"), build_balancer(cfg), cfg)[0]


def test_a_regularizers_second_derivatives_go_through_attention_and_unpooling():
    model, samples = small("mtan").double(), dense_batch(TASKS, TASKS, size=SIZE)
    oracle, last = Oracle(model, last_shared=(LAST,)), list(model.get_submodule(LAST).parameters())
    features = model.shared_features(model.batch_images(samples))
    losses = [sum(model.task_losses(task, features, samples, Reduction()).values()) for task in TASKS]
    pulls = [torch.cat([g.flatten() for g in torch.autograd.grad(x, last, create_graph=True)]) for x in losses]
    cosines = [torch.cosine_similarity(pulls[i], pulls[j], dim=0) for i, j in ((0, 1), (0, 2), (1, 2))]
    objective = sum(losses) + 10 * sum(c**2 for c in cosines) / 3
    expected = torch.autograd.grad(objective, oracle.shared)
    oracle.load(samples)
    build_balancer(with_cosreg())(oracle, 0, lambda: None)
    for p, wanted in zip(oracle.shared, expected, strict=True):
        assert (p.grad - wanted).norm() <= 1e-9 * wanted.norm() + 1e-11


def test_layers_on_a_detector_find_the_blocks_of_its_trunk():
    cfg = small_cfg("detection", "semantic", "depth")
    cfg.MODEL.BACKBONE.NAME = "build_mtan_segnet_backbone"
    cfg.MODEL.SEGNET.WIDTHS, cfg.MODEL.SEGNET.OUT_FEATURES = (8, 16, 16, 16, 16), ["decoder3"]
    cfg.MODEL.FCOS.IN_FEATURES = ["decoder4", "decoder5"]
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegMapHead"
    for head in (cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.DEPTH_HEAD):
        head.LAYERS, head.IN_FEATURES, head.COMMON_STRIDE = "mtan", ["decoder3"], 4
    model = build_model(cfg).train()
    with EventStorage():
        losses = model([sample("detection", "semantic", "depth", seed=i) for i in range(2)])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.backbone.attention_blocks.parameters())
    block = "backbone.attention_blocks.encoder1.0.weight"
    reached = model.reached_parameters()
    assert [block in reached[task] for task in ("detection", "semantic", "depth")] == [False, True, True]
