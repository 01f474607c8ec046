import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from small import sample, small_model

from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import head_parameters, shared_parameters


def plain_fcos(model):
    """detectron2's own FCOS over the same backbone and head."""
    fcos = FCOS(
        backbone=model.backbone,
        head=model.head,
        head_in_features=model.head_in_features,
        num_classes=model.num_classes,
        pixel_mean=[103.53, 116.28, 123.675],
        pixel_std=[1.0, 1.0, 1.0],
    )
    return fcos.train()


def test_detection_losses_are_detectron2s():
    model = small_model("detection")
    samples = [sample("detection", seed=s, boxes=3) for s in range(3)]
    fcos = plain_fcos(model)
    with torch.jit.optimized_execution(False):
        for _ in range(2):  # the second with a moved normalizer
            ours, theirs = model(samples), fcos(samples)
            assert ours.keys() == theirs.keys()
            for key, value in theirs.items():
                torch.testing.assert_close(ours[key], value, rtol=1e-6, atol=0)


def test_image_without_boxes_is_background_everywhere():
    model = small_model("detection")
    empty = sample("detection", boxes=0)
    losses = model([empty])
    assert losses["loss_fcos_cls"] > 0
    assert losses["loss_fcos_loc"] == 0
    assert losses["loss_fcos_ctr"] == 0
    far = sample("detection", boxes=1)
    far["instances"] = Instances((64, 96), gt_boxes=Boxes(torch.tensor([[-9e5, -9e5, -8e5, -8e5]])))
    far["instances"].gt_classes = torch.tensor([2])
    torch.testing.assert_close(model([far])["loss_fcos_cls"], losses["loss_fcos_cls"])


def test_normalizer_stands_still_without_positives_and_is_saved():
    model = small_model("detection")
    model([sample("detection", boxes=0)])
    assert model.loss_normalizer == 300
    model([sample("detection", boxes=3)])
    moved = model.state_dict()["loss_normalizer"].item()
    assert moved != 300
    model([sample("detection", boxes=0)])
    assert model.loss_normalizer == moved


def test_each_head_runs_on_its_own_samples_only():
    model = small_model()
    seen = {}
    model.head.register_forward_hook(lambda m, args, out: seen.update(detection=len(args[0][0])))
    model.sem_seg_head.predictor.register_forward_hook(lambda m, args, out: seen.update(semantic=len(args[0])))
    model([sample("detection", seed=1), sample("semantic", seed=2), sample("detection", "semantic", seed=3)])
    assert seen == {"detection": 2, "semantic": 2}


def test_absent_task_gives_foreign_trainers_a_zero_with_a_graph():
    model = small_model()
    losses = model([sample("detection")])
    assert set(losses) == {k for task in model.tasks for k in task.loss_keys}
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in head_parameters(model, model.tasks[1]))
    assert losses["loss_sem_seg_ce"] == 0


def test_batch_without_any_label_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no sample of the batch has a label.*0\.png"):
        small_model()([sample()])


def test_simple_trainer_trains_it():
    model = small_model()
    data = [[sample("detection", "semantic", seed=s) for s in range(2)]] * 30
    trainer = SimpleTrainer(model, data, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
    trainer._data_loader_iter_obj = None
    before = sum(model(data[0]).values()).item()
    trainer.train(0, 12)
    assert sum(model(data[0]).values()).item() < 0.8 * before


def test_inference_gives_what_detectron2_evaluators_expect():
    model = small_model().eval()
    image = sample(size=(60, 90))
    image |= {"height": 120, "width": 180}
    with torch.no_grad():
        (output,) = model([image])
    assert output["sem_seg"].shape == (5, 120, 180)
    assert output["instances"].image_size == (120, 180)
    assert output["instances"].has("pred_boxes")
    assert output["instances"].has("scores")
    assert output["instances"].has("pred_classes")


@pytest.mark.parametrize("task", ["detection", "semantic"])
def test_single_task_model_is_the_same_model_with_one_task(task):
    model = small_model(task)
    sum(model([sample("detection", "semantic")]).values()).backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert (model.head is None, hasattr(model, "sem_seg_head")) == (task == "semantic", task == "semantic")
    assert all("fpn_lateral2" in n or "fpn_output2" in n for n in unused)  # detection never looks at p2
    with torch.no_grad():
        (output,) = model.eval()([sample()])
    assert len(output) == 1


def test_heads_and_trunk_divide_the_parameters():
    model = small_model()
    heads = [p for task in model.tasks for p in head_parameters(model, task)]
    shared = shared_parameters(model, model.tasks)
    assert {id(p) for p in [*heads, *shared]} == {id(p) for p in model.parameters()}
    assert {id(p) for p in shared} == {id(p) for p in model.backbone.parameters()}


def test_trunk_with_batch_norm_is_known_to_mix_samples():
    from small import small_cfg

    cfg = small_cfg()
    assert not small_model(cfg=cfg).mixes_samples()
    cfg.MODEL.TIMM.NORM = "BN"
    assert small_model(cfg=cfg).mixes_samples()
    assert not small_model(cfg=cfg).eval().mixes_samples()


def test_process_without_samples_follows_the_normalizer():
    class TwoRanks(Reduction):
        world_size = 2

        def total(self, value):
            return value + 40

    model = small_model("detection")
    assert model.task_losses("detection", {}, [], TwoRanks()) == {}
    assert model.loss_normalizer == pytest.approx(300 * 0.9 + 40 * 0.1)
