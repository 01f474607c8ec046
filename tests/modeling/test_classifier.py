"""MultiTaskClassifier: its networks, its loss, its updates."""

import math
from itertools import zip_longest

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch import nn
from torch.nn import functional as F

import mtl_d2.modeling  # noqa: F401
from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError, add_mtl_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.modeling.meta_arch.classifier import FEATURES
from mtl_d2.parallel.reduction import Reduction

LEFT, RIGHT = "class_left", "class_right"


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskClassifier"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0], [255.0]
    cfg.MTL.TASKS = (LEFT, RIGHT)
    cfg.DATASETS.TRAIN = ("multi_mnist_train",)
    return cfg


def cosreg_net(cfg):
    cfg.MODEL.CLASSIFIER.INPUT_SHAPE = (1, 64, 64)
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = (5,)
    cfg.MODEL.CLASSIFIER.TRUNK = ("conv 20 5 2", "conv 20 5 2")
    cfg.MODEL.CLASSIFIER.HEAD = ("conv 20 5 2", "linear 50")
    cfg.MODEL.CLASSIFIER.CONV_BIAS = False
    return cfg


def samples(count=4, size=36, classes=10):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return [{"image": image, LEFT: i % classes, RIGHT: (3 * i + 1) % classes} for i, image in enumerate(images)]


def test_lenet_has_the_parameters_of_pareto_mtls(cfg):
    model = build_model(cfg)
    shapes = [tuple(p.shape) for p in model.parameters()]
    trunk = [(10, 1, 9, 9), (10,), (20, 10, 5, 5), (20,), (50, 500), (50,)]
    assert shapes == [*trunk, (10, 50), (10,), (10, 50), (10,)]


def test_cosregs_net_has_strided_convolutions_without_bias(cfg):
    model = build_model(cosreg_net(cfg))
    trunk = [(20, 1, 5, 5), (20, 20, 5, 5)]
    head = [(20, 20, 5, 5), (50, 500), (50,), (5, 50), (5,)]
    assert [tuple(p.shape) for p in model.parameters()] == [*trunk, *head, *head]


def test_last_shared_layer_is_the_trunks_last_with_weights(cfg):
    lenet, cosreg = build_model(cfg), build_model(cosreg_net(cfg.clone()))
    assert [tuple(p.shape) for p in lenet.last_shared_parameters()] == [(50, 500), (50,)]
    assert [tuple(p.shape) for p in cosreg.last_shared_parameters()] == [(20, 20, 5, 5)]
    assert len(Oracle(cosreg).last_layer) == 1


def test_loss_is_the_mean_cross_entropy_of_pixels_from_0_to_1(cfg):
    model, batch = build_model(cfg).train(), samples()
    images = torch.stack([s["image"] for s in batch]) / 255
    logits = model.heads[LEFT](model.backbone(images))
    expected = F.cross_entropy(logits, torch.tensor([s[LEFT] for s in batch]))
    torch.testing.assert_close(model(batch)[f"loss_{LEFT}"], expected)


def test_losses_are_multiplied_by_their_weights(cfg):
    batch = samples()
    plain = build_model(cfg).train()
    cfg.MODEL.CLASSIFIER.LOSS_WEIGHTS = (100.0, 0.5)
    weighted = build_model(cfg).train()
    weighted.load_state_dict(plain.state_dict())
    once, times = plain(batch), weighted(batch)
    torch.testing.assert_close(times[f"loss_{LEFT}"], 100 * once[f"loss_{LEFT}"])
    torch.testing.assert_close(times[f"loss_{RIGHT}"], 0.5 * once[f"loss_{RIGHT}"])


def test_loss_of_equal_logits_is_the_logarithm_of_the_classes(cfg):
    model = build_model(cfg).train()
    for parameter in model.heads.parameters():
        torch.nn.init.zeros_(parameter)
    assert [v.item() for v in model(samples()).values()] == pytest.approx([math.log(10)] * 2)


def test_task_without_samples_has_no_loss_and_its_head_no_gradient(cfg):
    model = build_model(cfg).train()
    batch = [{**sample, "tasks": (LEFT,)} for sample in samples()]
    oracle = Oracle(model)
    oracle.load(batch)
    found = oracle.gradients()
    assert found.present.tolist() == [True, False]
    assert found.heads[1] == [None, None]


def test_task_losses_of_processes_average_to_the_loss_of_all(cfg):
    class Half(Reduction):
        world_size = 2

        def total(self, value):
            return value * 0 + 4.0  # samples of both

    model, batch = build_model(cfg).train(), samples()
    features = {FEATURES: model.backbone(model.batch_images(batch))}
    parts = [
        model.task_losses(LEFT, {FEATURES: features[FEATURES][own]}, [batch[i] for i in own], Half())[f"loss_{LEFT}"]
        for own in ([0], [1, 2, 3])
    ]
    torch.testing.assert_close(sum(parts) / 2, model(batch)[f"loss_{LEFT}"])


def test_evaluation_names_the_class_of_the_largest_logit(cfg):
    model = build_model(cfg).eval()
    for task, k in ((LEFT, 7), (RIGHT, 2)):
        torch.nn.init.zeros_(model.heads[task][-1].weight)
        model.heads[task][-1].bias.data = F.one_hot(torch.tensor(k), 10).float()
    assert model(samples(2)) == [{LEFT: 7, RIGHT: 2}] * 2


def test_dropout_and_batch_norm_stand_behind_every_convolution(cfg):
    cfg.MODEL.CLASSIFIER.NORM, cfg.MODEL.CLASSIFIER.DROPOUT = "BN", 0.25
    kinds = [type(m).__name__ for m in build_model(cfg).backbone]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "MaxPool2d"]
    assert kinds == [*block, *block, "Flatten", "Linear", "ReLU", "Dropout"]
    assert build_model(cfg).train().mixes_samples()


@pytest.mark.parametrize("norm", ["", "BN"])
def test_pooling_stands_before_the_relu_and_gives_what_it_gives_behind_it(cfg, norm):
    cfg.MODEL.CLASSIFIER.NORM = norm
    trunk = build_model(cfg).backbone
    of_kind = [[m for m in trunk if isinstance(m, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)]
    convolutions, norms, (linear,) = of_kind
    assert isinstance(trunk[-5], nn.MaxPool2d)

    def behind(x):
        for convolution, normalize in zip_longest(convolutions, norms, fillvalue=nn.Identity()):
            x = F.max_pool2d(F.relu(normalize(convolution(x))), 2)
        return F.relu(linear(x.flatten(1)))

    images = torch.randn(4, 1, 36, 36)
    found = [
        [y, *torch.autograd.grad(y.square().sum(), list(trunk.parameters()))] for y in (trunk(images), behind(images))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_any_number_of_tasks_with_their_own_classes(cfg):
    cfg.MTL.TASKS = (LEFT, RIGHT, "class_colour")
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = (10, 5, 3)
    check_mtl_config(cfg)
    assert [head[-1].out_features for head in build_model(cfg).heads.values()] == [10, 5, 3]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NUM_CLASSES", (10, 5, 3), "one for each of MTL.TASKS, 2; got"),
        ("NUM_CLASSES", (1,), "one integer >= 2"),
        ("LOSS_WEIGHTS", (1.0, 0.0), r"LOSS_WEIGHTS must be one number > 0.*got \(1.0, 0.0\)"),
        ("LOSS_WEIGHTS", (1.0, 1.0, 1.0), "one for each of MTL.TASKS, 2; got"),
        ("INPUT_SHAPE", (36, 36), "must be 3 integers"),
        ("INPUT_SHAPE", (3, 36, 36), "PIXEL_MEAN must have a number for each of 3 channels"),
        ("INPUT_SHAPE", (1, 16, 16), "'conv 20 5' gets 4 x 4 pixels, fewer than its kernel"),
        ("TRUNK", ("conv 10",), "got 'conv 10'"),
        ("TRUNK", ("convolution 10 9",), "a layer is 'conv FILTERS KERNEL"),
        ("TRUNK", ("linear 5", "conv 10 9"), "a linear layer came before"),
        ("TRUNK", ("pool 2",), "must have a conv or linear layer"),
        ("HEAD", ("conv 5 3",), "MODEL.CLASSIFIER.HEAD: 'conv 5 3' needs an image"),
        ("DROPOUT", 1.0, "must be a finite number >= 0 and < 1, got 1.0"),
        ("NORM", "GN", "must be one of '', 'BN'"),
    ],
)
def test_impossible_networks_are_refused_before_they_are_built(cfg, key, value, message):
    cfg.MODEL.CLASSIFIER[key] = value
    with pytest.raises(ConfigError, match=message):
        check_mtl_config(cfg)


def test_classifications_and_other_tasks_do_not_mix(cfg):
    cfg.MTL.TASKS = (LEFT, "detection")
    with pytest.raises(ConfigError, match="has no task 'detection'; it has class_<anything>"):
        check_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    with pytest.raises(ConfigError, match="MultiTaskFCOS has no task 'class_left'"):
        check_mtl_config(cfg)
