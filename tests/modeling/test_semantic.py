import pytest
import torch
from small import assert_same_gradients, of_two_processes, sample, small_model
from torch.nn import functional as F

from mtl_d2.balancing import Oracle
from mtl_d2.modeling.heads.semantic import dice_loss
from mtl_d2.parallel.reduction import Reduction

IGNORE = 255


def test_dice_by_hand():
    # 4 pixels, the last ignored; p(class 0) = 0.75, 0.25, 0.5; targets 0, 0, 1
    # class 0: 2 (0.75 + 0.25) / (1.5 + 2) = 4/7; class 1: 2 * 0.5 / (1.5 + 1) = 0.4; loss = 1 - (4/7 + 0.4) / 2
    logits = torch.tensor([0.75, 0.25, 0.5, 0.9]).logit()[None, None, None]
    logits = torch.cat([logits, torch.zeros_like(logits)], 1)
    target = torch.tensor([[[0, 0, 1, IGNORE]]])
    assert dice_loss(logits, target, IGNORE).tolist() == pytest.approx([1 - (4 / 7 + 0.4) / 2], rel=1e-6)


def test_dice_of_a_sure_and_right_prediction_is_zero():
    target = torch.randint(0, 5, (2, 8, 8))
    logits = 50.0 * F.one_hot(target, 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(dice_loss(logits, target, IGNORE), torch.zeros(2), atol=1e-6, rtol=0)


def test_classes_that_an_image_lacks_are_not_averaged_over():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    few, many = torch.zeros(1, 2, 4, 4), torch.zeros(1, 9, 4, 4)
    few[:, 1] = many[:, 1] = -100  # class 1 is surely absent
    many[:, 2:] = -100
    torch.testing.assert_close(dice_loss(few, target, IGNORE), dice_loss(many, target, IGNORE))


def test_ignored_pixels_have_no_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    target = torch.full((1, 4, 4), IGNORE)
    target[0, 0] = 2
    dice_loss(logits, target, IGNORE).sum().backward()
    assert (logits.grad[:, :, 1:] == 0).all()
    assert (logits.grad[:, :, 0] != 0).any()


def test_image_without_labels_costs_nothing_and_is_finite():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = dice_loss(logits, torch.full((1, 4, 4), IGNORE), IGNORE)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_is_the_mean_over_labelled_pixels_of_all_images():
    model = small_model()
    samples = [sample("semantic", seed=1), sample("semantic", size=(48, 96), seed=2)]
    samples[1]["sem_seg"][:20] = IGNORE
    features = model.shared_features(model.batch_images(samples))
    losses = model.task_losses("semantic", features, samples, Reduction())
    logits = F.interpolate(model.sem_seg_head.layers(features), scale_factor=4, mode="bilinear", align_corners=False)
    target = torch.full((2, 64, 96), IGNORE)
    target[0], target[1, :48] = samples[0]["sem_seg"], samples[1]["sem_seg"]
    expected = 0.5 * F.cross_entropy(logits, target, ignore_index=IGNORE)
    torch.testing.assert_close(losses["loss_sem_seg_ce"], expected)


def test_padding_is_not_labelled():
    model = small_model()
    small, large = sample("semantic", size=(32, 64), seed=1), sample("semantic", size=(64, 96), seed=2)
    large["sem_seg"][:] = IGNORE
    large["sem_seg"][0, 0] = 1
    both = model.training_losses([small, large])
    small["sem_seg"] = F.pad(small["sem_seg"], (0, 32, 0, 32), value=IGNORE)  # the same, written out
    assert both == model.training_losses([small, large])


def test_an_image_of_ignored_pixels_beside_a_labelled_one_changes_nothing():
    model, labelled, ignored = small_model(), sample("semantic", seed=1), sample("semantic", seed=2)
    ignored["sem_seg"][:] = IGNORE
    losses = [model(samples) for samples in ([labelled], [labelled, ignored], [ignored, labelled, ignored])]
    for key in model.tasks[1].loss_keys:
        assert losses[0][key] > 0.1
        for other in losses[1:]:
            assert other[key].item() == pytest.approx(losses[0][key].item(), rel=1e-5)
    assert all(model([ignored])[key] == 0 for key in model.tasks[1].loss_keys)


def test_a_process_with_ignored_pixels_only_adds_nothing_to_the_mean():
    labelled, ignored = sample("semantic", seed=1), sample("semantic", seed=2)
    ignored["sem_seg"][:] = IGNORE
    models = [small_model("semantic").double() for _ in range(3)]
    alone = Oracle(models[2])
    alone.load([labelled])
    expected = alone.gradients()
    for found in of_two_processes(models, [labelled, ignored]):
        assert_same_gradients(found, expected)
