"""SegNet, with a decoder for all tasks or one for each: sizes as published, torchvision's encoder, exact gradients."""

import pytest
import torch
from detectron2.modeling import build_model
from small import small_cfg
from torchvision.models import vgg16_bn

from mtl_d2.balancing import Oracle
from mtl_d2.modeling.backbone.segnet import FEATURES, SegNet
from mtl_d2.modeling.heads.map_layers import SplitLayers, build_map_layers, every
from mtl_d2.modeling.heads.segnet_layers import SegNetLayers
from mtl_d2.parallel.reduction import Reduction

TASKS = ("semantic", "depth", "normals")
OWN = {"OUT_FEATURES": ["pool5", *(f"indices{stage}" for stage in range(5, 0, -1))]}


def segnet_cfg(layers="split", stride=1, loss_size="image", tasks=TASKS):
    cfg = small_cfg(*tasks)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.NAME = "MultiTaskDense", "build_segnet_backbone"
    cfg.MODEL.SEGNET.WIDTHS = (4, 4, 6, 6, 8)
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegMapHead"
    if layers == "segnet":
        cfg.MODEL.SEGNET.OUT_FEATURES = OWN["OUT_FEATURES"]
    for head in (cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.DEPTH_HEAD, cfg.MODEL.NORMALS_HEAD):
        head.IN_FEATURES = ["pool5" if layers == "segnet" else "decoder1"]
        head.LAYERS, head.COMMON_STRIDE, head.CONVS_DIM, head.NORM = layers, stride, 4, ""
        head.LOSS_SIZE = loss_size
    return cfg


def model_of(cfg, seed=0):
    torch.manual_seed(seed)
    return build_model(cfg).double()


def samples(*tasks, size=(32, 64)):
    generator = torch.Generator().manual_seed(len(tasks))
    made = []
    for of_sample in tasks:
        normals = torch.randn(3, *size, generator=generator, dtype=torch.float64)
        made.append(
            {
                "image": torch.rand(3, *size, generator=generator, dtype=torch.float64) * 255,
                "sem_seg": torch.randint(0, 5, size, generator=generator),
                "depth": 1 + torch.rand(size, generator=generator, dtype=torch.float64),
                "normals": normals / normals.norm(dim=0),
                "tasks": of_sample,
            }
        )
    return made


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_those_of_the_published_networks():
    trunk = SegNet()
    shape = trunk.output_shape()["decoder1"]
    heads = [parameters(SplitLayers("decoder1", shape, 64, channels)) for channels in (13, 1, 3)]
    assert (parameters(trunk), heads) == (24_943_296, [37_773, 36_993, 37_123])
    assert parameters(trunk) + sum(heads) == 25_055_185
    own = SegNetLayers((64, 128, 256, 512, 512), 1, 64, 13)
    assert parameters(own) + parameters(SegNet(wanted=["pool5"])) == 24_943_296 + 37_773


def test_the_encoder_is_torchvisions():
    theirs = vgg16_bn(weights=None).features.eval()
    ours = SegNet(wanted=["pool5"]).eval()
    ours.bottom_up.features.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(ours(images)["pool5"], theirs(images), rtol=0, atol=0)


def test_every_feature_has_the_shape_that_it_says():
    trunk = SegNet((4, 5, 6, 7, 8), FEATURES)
    for name, output in trunk(torch.randn(2, 3, 64, 96)).items():
        shape = trunk.output_shape()[name]
        assert tuple(output.shape) == (2, shape.channels, 64 // shape.stride, 96 // shape.stride), name


def test_a_pixel_is_unpooled_to_where_it_came_from():
    trunk = SegNet((1, 1, 1, 1, 1), ("last2", "pool2", "indices2", "unpool2")).eval()
    maps = trunk.bottom_up(torch.randn(1, 3, 32, 32))
    decoder = trunk.decoder(maps)
    kept = decoder["unpool2"] != 0
    assert kept.flatten(2).sum() <= maps["pool2"].numel()
    restored = torch.nn.functional.max_unpool2d(maps["pool2"], maps["indices2"], 2, 2)
    assert torch.equal(restored[restored != 0], maps["last2"][restored != 0])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("layers", ["split", "segnet"])
def test_rows_are_those_of_plain_autograd(layers, accumulate):
    model = model_of(segnet_cfg(layers)).eval()  # batch norm with fixed statistics: micro-batches are exact then
    batch = samples(TASKS, ("semantic",), ("depth", "normals"), TASKS)
    oracle = Oracle(model, accumulate=accumulate)
    oracle.load(batch)
    rows = oracle.gradients()
    chosen = {task: [s for s in batch if task in s["tasks"]] for task in TASKS}
    for i, task in enumerate(TASKS):
        if accumulate == 1:
            features = model.shared_features(model.batch_images(chosen[task]))
            loss = sum(model.task_losses(task, features, chosen[task], Reduction()).values())
            expected = torch.autograd.grad(loss, [*oracle.shared, *oracle.heads[i]], allow_unused=True)
            found = [*rows.rows[i], *rows.heads[i]]
            for value, right in zip(found, expected, strict=True):
                assert (value is None) == (right is None)
                if right is not None:
                    torch.testing.assert_close(value, right, rtol=1e-9, atol=1e-12)
    assert all(g is not None for head in rows.heads for g in head)


@pytest.mark.parametrize("layers", ["split", "segnet"])
def test_any_size_and_no_image_at_all(layers):
    model = model_of(segnet_cfg(layers))
    odd = samples(TASKS, size=(33, 50)) + samples(TASKS, TASKS, size=(20, 70))[:1]
    assert all(torch.isfinite(loss) for loss in model(odd).values())
    model.eval()
    for sample, output in zip(odd, model(odd), strict=True):
        size = tuple(sample["sem_seg"].shape)
        assert [tuple(output[key].shape) for key in ("sem_seg", "depth", "normals")] == [(5, *size), size, (3, *size)]
    features = model.shared_features(torch.zeros(0, 3, 64, 96, dtype=torch.float64))
    assert all(model.head_outputs(task, features)[-1].shape[0] == 0 for task in TASKS)


def test_the_last_shared_layer_is_the_decoders_or_else_the_encoders():
    for layers, shape in (("split", (4, 4, 3, 3)), ("segnet", (8, 8, 3, 3))):
        model = model_of(segnet_cfg(layers))
        assert tuple(model.last_shared_parameters()[0].shape) == shape
        named = {id(p): name for name, p in model.named_parameters()}
        last = {named[id(p)] for p in model.last_shared_parameters()}
        assert all(last <= set(reached) for reached in model.reached_parameters().values())


def test_a_loss_at_the_maps_size_compares_with_the_middle_of_each_square():
    assert every(torch.arange(16).view(4, 4), 2).tolist() == [[5, 7], [13, 15]]
    model = model_of(segnet_cfg("segnet", stride=4, loss_size="map"))
    batch = samples(TASKS, TASKS)
    losses = model(batch)
    changed = [{**s, "sem_seg": s["sem_seg"].clone(), "depth": s["depth"].clone()} for s in batch]
    for sample in changed:  # all pixels but those in the middle of 4 x 4
        kept = torch.zeros(32, 64, dtype=torch.bool)
        kept[2::4, 2::4] = True
        sample["sem_seg"][~kept], sample["depth"][~kept] = 255, 0
    for key, loss in model(changed).items():
        torch.testing.assert_close(loss, losses[key])
    output = model.shared_features(model.batch_images(batch))
    depth = model.depth_head.layers(output)[:, 0]
    expected = (depth - torch.stack([s["depth"] for s in batch])[:, 2::4, 2::4]).abs().mean()
    torch.testing.assert_close(losses["loss_depth"], expected)


def test_labels_are_smoothed_as_torch_does_it():
    cfg = segnet_cfg(tasks=("semantic",))
    cfg.MODEL.SEM_SEG_HEAD.LABEL_SMOOTHING = 0.1
    model, batch = model_of(cfg), samples(("semantic",), ("semantic",))
    batch[0]["sem_seg"][:5] = 255
    logits = model.sem_seg_head.layers(model.shared_features(model.batch_images(batch)))
    target = torch.stack([s["sem_seg"] for s in batch])
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(model(batch)["loss_sem_seg"], expected)


@pytest.mark.parametrize(
    ("layers", "change", "message"),
    [
        (
            "split",
            {"COMMON_STRIDE": 4},
            "COMMON_STRIDE of a head must be the stride of its layers, which is 1 of 'split'",
        ),
        ("split", {"IN_FEATURES": ["decoder1", "decoder1"]}, "IN_FEATURES of a head with LAYERS 'split' must be one"),
        ("segnet", {"COMMON_STRIDE": 3}, r"COMMON_STRIDE of LAYERS 'segnet' must be one of \(1, 2, 4, 8, 16\), got 3"),
        ("segnet", {"IN_FEATURES": ["indices5"]}, r"needs IN_FEATURES \['pool5'\] and a SegNet whose MODEL.SEGNET"),
    ],
)
def test_layers_that_cannot_be_built(layers, change, message):
    cfg = segnet_cfg(layers)
    for key, value in change.items():
        cfg.MODEL.DEPTH_HEAD[key] = value
    shapes = SegNet(cfg.MODEL.SEGNET.WIDTHS, cfg.MODEL.SEGNET.OUT_FEATURES).output_shape()
    with pytest.raises(ValueError, match=message):
        build_map_layers(cfg.MODEL.DEPTH_HEAD, shapes, 1)
