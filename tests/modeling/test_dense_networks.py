"""The dense networks of the papers: parameters as published, weights of torchvision, passes on odd batches."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torchvision
from dense_networks import (
    HEADS,
    PUBLISHED,
    TASKS,
    deeplab,
    dense_batch,
    mtan_segnet,
    on_meta,
    own_decoders,
    parameters,
    small_dense,
    small_dense_cfg,
)
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torchvision.models import vgg

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.trunk_weights import as_named_in
from mtl_d2.modeling.aspp import PooledNorm, build_aspp

PAGE = Path(__file__).resolve().parents[2] / "docs/dense_networks.md"
each_network = pytest.mark.parametrize("name", PUBLISHED)


def published(name, tasks=TASKS, classes=13):
    return on_meta(PUBLISHED[name](tasks, SEM_SEG_HEAD__NUM_CLASSES=classes))


SNIPPETS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
COUNTED = (25_055_185, 45_495_505, 24_980_689, 44_229_073, 92_347_921, 71_888_721, 40_818_513)


@pytest.mark.parametrize("place", range(len(COUNTED)))
def test_snippets_of_the_page_build_networks_with_the_parameters_that_it_says(place, tmp_path):
    assert len(SNIPPETS) == len(COUNTED)
    file = tmp_path / "config.yaml"
    file.write_text(SNIPPETS[place])
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, str(file), ["MTL.TASKS", TASKS, "DATASETS.TRAIN", ("any",)])
    check_mtl_config(cfg)
    assert parameters(on_meta(cfg)) == COUNTED[place]
    assert f"{COUNTED[place]:,}" in PAGE.read_text()


@pytest.mark.parametrize("stride", [1, 4])
def test_a_decoder_of_a_tasks_own_is_the_shared_one(stride):
    """The same layers as where all tasks share it, from the encoder to the same stride."""
    last = f"decoder{1 if stride == 1 else 3}"
    keys = {f"{head}__{key}": value for head in HEADS.values() for key, value in
            (("IN_FEATURES", [last]), ("COMMON_STRIDE", stride))}  # fmt: skip
    shared = on_meta(PUBLISHED["split"](SEGNET__OUT_FEATURES=[last], **keys))
    own = on_meta(own_decoders(stride=stride))
    assert parameters(own.depth_head.layers.decoder) == parameters(shared.backbone.decoder)
    assert parameters(own) - parameters(shared) == 2 * parameters(shared.backbone.decoder)


def test_mtan_has_the_parameters_of_its_authors_code_part_by_part():
    model = published("mtan")
    blocks = model.backbone.attention_blocks
    heads = [model.get_submodule(name).layers for task in model.tasks for name in task.head_modules]
    assert parameters(model.backbone) - parameters(blocks) == 24_943_296
    assert sum(parameters(blocks[f"encoder{stage}"]) for stage in range(1, 6)) == 6_272_640
    assert sum(parameters(blocks[f"decoder{stage}"]) for stage in range(1, 6)) == 3_947_520
    assert sum(parameters(head.encoder) for head in heads) == 5_506_944
    assert sum(parameters(head.decoder) for head in heads) == 3_446_784
    assert [parameters(head.output) for head in heads] == [37_773, 36_993, 37_123]


def test_deeplab_has_the_parameters_of_its_published_code():
    model = published("deeplabv3")
    assert parameters(model.backbone) == 23_508_032
    assert parameters(model.depth_head.layers) == 16_125_697
    assert parameters(model.sem_seg_head.layers) == 16_125_697 + 257 * 12
    assert parameters(published("deeplabv3", ("semantic", "depth"), 40)) == 55_769_449


def test_shared_aspp_is_one_aspp():
    model = published("shared_aspp")
    aspp = parameters(model.backbone) - 23_508_032
    assert parameters(model.depth_head.layers) == 16_125_697 - aspp
    assert parameters(model) == 71_888_721 - 2 * aspp


def test_mtan_on_a_resnet_has_the_parameters_of_its_layers():
    model = published("mtan_deeplabv3")
    widths = (256, 512, 1024, 2048)
    # Two 1x1 convolutions with biases, each with a norm; the input is twice as wide after the first stage.
    masks = sum((n * (1 + (i > 0)) + 1 + 2) * n // 4 + (n // 4 + 1 + 2) * n for i, n in enumerate(widths))
    # A bottleneck of convolutions without biases and norms, and its projection.
    blocks = sum(
        (a + 2) * b // 4 + (9 * b // 4 + 2) * b // 4 + (b // 4 + 2) * b + (a + 2) * b for a, b in pairwise(widths)
    )
    assert parameters(model.backbone) == 23_508_032 + blocks
    assert parameters(model) == 71_888_721 + blocks + 3 * masks


def test_dilations_are_the_published_ones():
    network = published("deeplabv3").backbone.network
    assert [block.conv2.dilation[0] for block in network.layer3] == [1, 2, 2, 2, 2, 2]
    assert [block.conv2.dilation[0] for block in network.layer4] == [2, 4, 4]
    assert {block.conv2.stride for layer in (network.layer3, network.layer4) for block in layer} == {(1, 1)}


def with_statistics(model):
    """In evaluation mode, as after some training."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return model.eval()


def test_vgg_weights_of_torchvision_are_the_encoder_of_a_segnet():
    with torch.device("meta"):
        names = list(torchvision.models.vgg16_bn().state_dict())  # its classifier takes half a gigabyte
    features = with_statistics(vgg.make_layers(vgg.cfgs["D"], batch_norm=True))
    file = {f"features.{name}": value for name, value in features.state_dict().items()}
    assert list(file) == names[: len(file)]
    file["classifier.0.weight"] = torch.zeros(1, 1)
    model = build_model(PUBLISHED["split"](("depth",))).eval()
    assert not model.load_state_dict(as_named_in(model, file), strict=False).unexpected_keys
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.bottom_up(image)["pool5"], features(image))


@pytest.mark.parametrize("name", ["deeplabv3", "shared_aspp", "mtan_deeplabv3"])
def test_resnet_weights_of_torchvision_are_the_dilated_trunk(name):
    resnet = with_statistics(torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]))
    model = build_model(PUBLISHED[name](("depth",))).eval()
    assert not model.load_state_dict(as_named_in(model, resnet.state_dict()), strict=False).unexpected_keys
    resnet.fc = resnet.avgpool = torch.nn.Identity()
    image = torch.rand(1, 3, 32, 32)
    trunk = model.backbone if name == "deeplabv3" else model.backbone.bottom_up
    with torch.no_grad():
        torch.testing.assert_close(trunk(image)["res3"].flatten(1), resnet(image))
        if name == "mtan_deeplabv3":
            torch.testing.assert_close(model.backbone(image)["stage4"].flatten(1), resnet(image))


@each_network
def test_predictions_have_the_size_of_images_that_need_padding(name):
    samples = [{**one, "height": 100, "width": 70} for one in dense_batch(TASKS, TASKS, size=(50, 75))]
    model = small_dense(name).eval()
    with torch.no_grad():
        outputs = model(samples)
    for output in outputs:
        assert output["sem_seg"].shape == (5, 100, 70)
        assert output["depth"].shape == (100, 70)
        assert output["normals"].shape == (3, 100, 70)
        torch.testing.assert_close(output["normals"].norm(dim=0), torch.ones(100, 70))


@each_network
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_an_update_moves_every_parameter_by_finite_gradients(name, dtype):
    model = small_dense(name, dropout=0.1)
    oracle = Oracle(model, precision=Precision(dtype))
    oracle.load(dense_batch(TASKS, ("depth",), ("semantic", "normals"), size=(50, 75)))
    found = oracle.gradients()
    for gradients in [*zip(*found.rows, strict=True), *((g,) for head in found.heads for g in head)]:
        there = [g for g in gradients if g is not None]
        assert there
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in there)


@each_network
def test_an_image_alone_and_no_image_go_through(name):
    model = small_dense(name)
    losses = model(dense_batch(("depth",), size=(32, 32)))
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_sem_seg"] == 0
    with torch.no_grad():
        features = model.shared_features(torch.empty(0, 3, 64, 96))
        for task in TASKS:
            assert len(model.head_outputs(task, features)[-1]) == 0


@each_network
def test_the_last_shared_layer_is_reached_by_every_task_and_moves(name):
    model = small_dense(name)
    last = {id(p) for p in model.last_shared_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in last}
    assert names
    for reached in model.reached_parameters().values():
        assert names <= set(reached)


@pytest.mark.parametrize("name", ["deeplabv3", "shared_aspp", "mtan_deeplabv3"])
def test_group_norm_everywhere_does_not_mix_images(name):
    keys = {f"{head}__{key}": value for head in HEADS.values() for key, value in (("NORM", "GN"), ("CONVS_DIM", 16))}
    model = small_dense(name, TIMM__NORM="GN", ASPP__CHANNELS=16, **keys)
    assert not model.mixes_samples()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN_N"])
def test_a_single_image_trains_an_aspp_of_any_batch_norm(norm):
    aspp = build_aspp(4, 8, [2], 0.0, norm).train()
    aspp(torch.rand(1, 4, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in aspp.parameters())
    assert set(aspp.state_dict()) == set(build_aspp(4, 8, [2], 0.0).state_dict())


def test_one_value_a_channel_is_normalized_by_the_running_statistics():
    norm = PooledNorm(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.fill_(4.0)
    alone, pair = torch.full((1, 3, 1, 1), 3.0), torch.rand(2, 3, 1, 1)
    expected = torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(norm(alone).flatten(), expected, rtol=1e-5, atol=1e-6)
    assert norm.running_mean.tolist() == [1, 2, 3]
    torch.testing.assert_close(norm(pair), torch.nn.BatchNorm2d(3)(pair))
    assert norm.running_mean.tolist() != [1, 2, 3]


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        (lambda: mtan_segnet(SEGNET__OUT_FEATURES=["pool5"]), r"OUT_FEATURES of build_mtan_segnet.*got \['pool5'\]"),
        (lambda: PUBLISHED["mtan_deeplabv3"](TIMM__NAME="resnet26(layers=(1,2,2,2))"), r"two blocks or more.*\[1, 2"),
        (lambda: PUBLISHED["mtan_deeplabv3"](TIMM__NAME="convnext_atto"), "must be a ResNet of timm's"),
        (lambda: deeplab(TIMM__OUT_FEATURES=["res4"]), r"MODEL\.TIMM\.OUT_FEATURES \['res4'\].*there is no map res4"),
        (lambda: deeplab(TIMM__OUT_FEATURES=[3]), r"MODEL\.TIMM\.OUT_FEATURES must be a list of texts, got \[3\]"),
        (lambda: deeplab(DEPTH_HEAD__ASPP_RATES=[]), r"DEPTH_HEAD\.ASPP_RATES must be a list of whole numbers"),
    ],
)
def test_trunks_that_cannot_be_are_told_before_data_are_read(cfg, said):
    made = cfg()
    made.DATASETS.TRAIN = ("any",)
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(made)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("split", {"DEPTH_HEAD__LAYERS": "mtan"}, "needs MODEL.BACKBONE.NAME 'build_mtan_segnet_backbone'"),
        ("deeplabv3", {"DEPTH_HEAD__LAYERS": "mtan_deeplabv3"}, "needs MODEL.BACKBONE.NAME 'build_mtan_resnet"),
        ("deeplabv3", {"DEPTH_HEAD__NORM": ""}, "NORM of layers of DeepLabV3 must be one of 'BN', .*got ''"),
        ("mtan", {"DEPTH_HEAD__COMMON_STRIDE": 2}, "COMMON_STRIDE of a head must be the stride of its layers"),
    ],
)
def test_layers_that_do_not_fit_their_trunk_say_what_they_need(name, keys, said):
    with pytest.raises(ValueError, match=said):
        build_model(small_dense_cfg(name, **keys))
