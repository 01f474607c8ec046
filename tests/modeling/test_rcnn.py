"""Mask R-CNN as a multi-task model: detectron2's own where every sample has every task, each task's own elsewhere."""

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.utils.events import EventStorage
from small import assert_same_gradients, of_two_processes, sample, small_model, small_rcnn_cfg

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.rows import combine
from mtl_d2.balancing.exact.whole import one_backward
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine.build import build_allocation, build_balancer
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import head_parameters, shared_parameters

DET, INS, SEM = "detection", "instance", "semantic"
D, I, S, DI, ALL = (DET,), (INS,), (SEM,), (DET, INS), (DET, INS, SEM)  # noqa: E741


def drawing_cfg(*tasks):
    """A config under which anchors and proposals are drawn at random."""
    cfg = small_rcnn_cfg(*tasks)
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.RPN.POSITIVE_FRACTION = 0.5
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 12
    cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
    return cfg


def rcnn(*tasks, seed=0):
    return small_model(cfg=small_rcnn_cfg(*tasks), seed=seed)


def detectron2s(cfg, state):
    """detectron2's own model of the same config, with the same parameters."""
    cfg = cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN" if SEM in cfg.MTL.TASKS else "GeneralizedRCNN"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
    model = build_model(cfg).train()
    assert list(model.load_state_dict(state)) == [[], []]
    return model


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


@pytest.mark.parametrize("tasks", [D, DI, (SEM, *DI)], ids="+".join)
def test_two_updates_are_detectron2s_bit_for_bit(tasks):
    cfg = drawing_cfg(*tasks)
    ours = small_model(cfg=cfg)
    theirs = detectron2s(cfg, ours.state_dict())
    batches = [[sample(*tasks, seed=2 * k + i, boxes=2 + k) for i in range(2)] for k in range(2)]
    batches[1][1] = sample(*tasks, boxes=0, size=(48, 96), seed=9)
    simple = SimpleTrainer(theirs, batches, sgd(theirs))
    balancer = build_balancer(cfg)
    loop = MultiTaskLoop(ours, sgd(ours), balancer, lambda start: batches, build_allocation(cfg))
    found = []
    for trainer in (simple, loop):
        torch.manual_seed(5)
        with EventStorage() as events:
            for k in range(2):
                trainer.iter = k
                trainer.run_step()
            found.append({key: value[0] for key, value in events.latest().items() if key.startswith("loss_")})
    assert set(found[0]) == {key for task in ours.tasks for key in task.loss_keys}
    classes = [losses.pop("loss_sem_seg", 0.0) for losses in found]  # ours is a sum over pixels in another order
    assert classes[0] == pytest.approx(classes[1], rel=1e-6)
    assert found[0] == found[1]
    for name, value in gradients(theirs).items():
        assert torch.equal(gradients(ours)[name], value), name
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_task_is_trained_on_its_own_samples_as_if_they_were_the_batch():
    ours = rcnn()
    theirs = detectron2s(small_rcnn_cfg(), ours.state_dict())
    boxes, masks = sample(*DI, seed=1), sample(*DI, seed=2, boxes=3)
    found = ours([boxes | {"tasks": D}, masks | {"tasks": I}])
    alone = theirs([boxes]), theirs([masks])
    for task in ours.tasks:
        for key in task.loss_keys:
            torch.testing.assert_close(found[key], alone[task.name == INS][key], rtol=1e-5, atol=1e-7)


def test_a_sample_of_instance_alone_leaves_rpn_and_box_branch_out_of_it():
    model = rcnn()
    seen = []
    for name in ("box_head", "mask_head"):
        model.roi_heads.get_submodule(name).register_forward_hook(lambda m, x, y, name=name: seen.append(name))
    sum(model.task_losses(INS, *features_of(model, [sample(*I)]), Reduction()).values()).backward()
    assert seen == ["mask_head"]
    assert all(p.grad is None for p in head_parameters(model, model.tasks[0]))
    assert all(p.grad is not None for p in head_parameters(model, model.tasks[1]))
    assert any(p.grad is not None for p in model.backbone.parameters())


def features_of(model, samples):
    return model.shared_features(model.batch_images(samples)), samples


def test_rpn_runs_once_for_an_image_whatever_tasks_it_has():
    model = rcnn()
    seen = []
    model.proposal_generator.rpn_head.register_forward_hook(lambda m, x, y: seen.append(len(x[0][0])))
    oracle = Oracle(model)
    oracle.load([sample(*t, seed=i) for i, t in enumerate([DI, I, D, DI])])
    oracle.gradients()
    assert seen == [3, 1]


@pytest.mark.parametrize("sets", [[DI, DI], [D, I, D], [I, I], [D, D], [DI, I, D]], ids=str)
def test_rows_are_the_gradients_of_each_tasks_loss_alone(float64, sets):
    model = rcnn().double()
    samples = [sample(*tasks, seed=i, size=(64, 96) if i else (48, 80)) for i, tasks in enumerate(sets)]
    oracle = Oracle(model)
    oracle.load(samples)
    found = oracle.gradients()
    losses = model(samples)
    for i, task in enumerate(model.tasks):
        assert bool(found.present[i]) == any(task.name in tasks for tasks in sets)
        if not found.present[i]:
            continue
        own = sum(losses[key] for key in task.loss_keys)
        assert float(found.losses[i]) == pytest.approx(own.item(), rel=1e-12)
        wanted = [*oracle.shared, *oracle.heads[i]]
        expected = torch.autograd.grad(own, wanted, retain_graph=True, allow_unused=True)
        for g, e in zip([*found.rows[i], *found.heads[i]], expected, strict=True):
            assert (g is None) == (e is None)
            if e is not None:
                assert (g - e).norm() <= 1e-10 * e.norm() + 1e-16


def test_one_backward_is_the_sum_of_the_rows(float64):
    model = rcnn(*ALL).double()
    samples = [sample(*tasks, seed=i) for i, tasks in enumerate([(DET, SEM), I, ALL])]
    oracle = Oracle(model)
    oracle.load(samples)
    rows = combine(oracle.gradients().rows, [1.0] * 3)
    oracle.load(samples)
    one_backward(oracle, lambda losses, present: torch.ones(3))
    for p, row in zip(oracle.shared, rows, strict=True):
        assert (p.grad - row).norm() <= 1e-10 * row.norm()


def test_images_without_objects_train_what_they_can():
    model = rcnn()
    losses = model([sample(*DI, boxes=0), sample(*I, boxes=0, seed=1)])
    assert losses["loss_rpn_cls"] > 0
    assert losses["loss_cls"] > 0
    assert [losses[k].item() for k in ("loss_rpn_loc", "loss_box_reg", "loss_mask")] == [0, 0, 0]
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_absent_task_gives_foreign_trainers_a_zero_with_a_graph():
    model = rcnn(*ALL)
    losses = model([sample(*D)])
    assert set(losses) == {k for task in model.tasks for k in task.loss_keys}
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for task in model.tasks[1:] for p in head_parameters(model, task))


def test_samples_are_left_as_they_were():
    samples = [sample(*DI), sample(*I, seed=1)]
    before = [set(s) for s in samples]
    model = rcnn()
    model(samples)
    oracle = Oracle(model)
    oracle.load(samples)
    oracle.gradients()
    assert [set(s) for s in samples] == before


def test_all_passes_of_an_update_see_the_same_anchors_and_proposals():
    model = small_model(cfg=drawing_cfg())
    oracle = Oracle(model)
    oracle.load([sample(*t, seed=i) for i, t in enumerate([DI, I, D])])
    first = oracle.gradients()
    for task in (INS, DET):
        torch.manual_seed(77)  # draws of its own would differ
        again = oracle.gradients([task])
        i = oracle.names.index(task)
        assert again.losses[i].item() == pytest.approx(first.losses[i].item(), rel=1e-6)


@pytest.mark.parametrize(
    "sets",
    [[ALL] * 4, [D, I, I, D], [D, D, I, I], [D, DI, S, (INS, SEM)], [DI, D, ALL, ALL]],
    ids=["full", "sta", "one task on each rank", "mixed", "unequal"],
)
def test_two_processes_equal_one(float64, sets):
    samples = [sample(*tasks, seed=i, boxes=1 + i % 3, size=(64 + 16 * i, 96)) for i, tasks in enumerate(sets)]

    models = [rcnn(*ALL).double() for _ in range(3)]
    whole = Oracle(models[2])
    whole.load(samples)
    expected = whole.gradients()
    for found in of_two_processes(models, samples):
        assert_same_gradients(found, expected)


def test_heads_and_trunk_divide_the_parameters():
    model = rcnn(*ALL)
    heads = [p for task in model.tasks for p in head_parameters(model, task)]
    shared = shared_parameters(model, model.tasks)
    assert len(heads) + len(shared) == len(list(model.parameters()))
    assert {id(p) for p in shared} == {id(p) for p in model.backbone.parameters()}


def test_last_shared_layer_is_the_output_of_the_levels_that_two_branches_look_at():
    model = rcnn()
    assert model.task_levels() == {DET: ["p2", "p3", "p4"], INS: ["p2", "p3", "p4"]}
    expected = [p for k in (2, 3, 4) for p in getattr(model.backbone, f"fpn_output{k}").parameters()]
    assert [id(p) for p in model.last_shared_parameters()] == [id(p) for p in expected]


@pytest.mark.parametrize("tasks", [D, DI, (DET, SEM), ALL, S], ids="+".join)
def test_inference_gives_what_detectron2_evaluators_expect(tasks):
    model = rcnn(*tasks).eval()
    image = sample(size=(60, 90)) | {"height": 120, "width": 180}
    with torch.no_grad():
        (output,) = model([image])
    assert ("instances" in output, "sem_seg" in output) == (DET in tasks, SEM in tasks)
    if SEM in tasks:
        assert output["sem_seg"].shape == (5, 120, 180)
    if DET in tasks:
        assert output["instances"].image_size == (120, 180)
        assert output["instances"].has("pred_masks") == (INS in tasks)
        assert len(output["instances"]) > 0


def test_inference_is_detectron2s():
    ours = rcnn()
    theirs = detectron2s(small_rcnn_cfg(), ours.state_dict()).eval()
    assert isinstance(ours, GeneralizedRCNN)
    with torch.no_grad():
        found, expected = (model.eval()([sample(size=(60, 90))])[0]["instances"] for model in (ours, theirs))
    for field, value in expected.get_fields().items():
        mine = found.get(field)
        assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), field


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["MTL.TASKS", I], "'instance' needs 'detection' before it"),
        (["MTL.TASKS", (INS, DET)], "'instance' needs 'detection' before it"),
        (["MODEL.MASK_ON", False], "MODEL.MASK_ON is False; MultiTaskRCNN needs True"),
        (["MTL.TASKS", D], "MODEL.MASK_ON is True; MultiTaskRCNN needs False"),
        (["MODEL.LOAD_PROPOSALS", True], "MODEL.LOAD_PROPOSALS is True"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "MODEL.PROPOSAL_GENERATOR.NAME is"),
        (["MODEL.ROI_HEADS.NAME", "Res5ROIHeads"], "MODEL.ROI_HEADS.NAME is 'Res5ROIHeads'"),
        (["MODEL.KEYPOINT_ON", True], "MODEL.KEYPOINT_ON is True"),
        (["MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True], "TRAIN_ON_PRED_BOXES is True"),
        (
            ["MODEL.RPN.BBOX_REG_LOSS_TYPE", "l2"],
            "RPN.BBOX_REG_LOSS_TYPE is 'l2', which is none of 'smooth_l1', 'giou'",
        ),
        (["MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "l2"], "ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE is 'l2'"),
        (["INPUT.MASK_FORMAT", "rle"], "INPUT.MASK_FORMAT is 'rle', which is none of 'polygon', 'bitmask'"),
        (["MODEL.META_ARCHITECTURE", "GeneralizedRCNN"], "MODEL.META_ARCHITECTURE is 'GeneralizedRCNN'"),
        (["MODEL.META_ARCHITECTURE", "MultiTaskFCOS"], "MultiTaskFCOS has no task 'instance'"),
        (
            ["MTL.TASKS", ALL, "MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead"],
            "set it to 'SemSegFPNEntropyHead' or 'SemSegMapHead' or 'SemSegFPNDiceHead'",
        ),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_built(overrides, said):
    cfg = small_rcnn_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    check_mtl_config(cfg)
    cfg.merge_from_list(overrides)
    with pytest.raises(ConfigError) as found:
        check_mtl_config(cfg)
    assert said in str(found.value)


def test_precomputed_proposals_are_refused():
    cfg = small_rcnn_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    with pytest.raises(ValueError, match="precomputed proposals cannot be trained on"):
        build_model(cfg)
