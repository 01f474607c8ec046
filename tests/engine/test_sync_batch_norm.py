"""SyncBN where a task is absent on some processes: they take part in its passes, and the update is that of one process.

"SyncBN" is torch's, with its five operators of GPUs written out; "naiveSyncBN_N" is detectron2's, as it is.
"""

import os
import tempfile

import pytest
import torch
import torch.multiprocessing as mp
from rank_cases import B, D, S, assert_same, serve, train_synchronized
from small import sample, small_cfg, small_model, small_rcnn_cfg

from mtl_d2.balancing.exact.batch import nothing_of
from mtl_d2.tasks.task import head_parameters

EVERYWHERE = ("trunk", "pyramid", "detection head", "semantic head")
APART = [D, S, D, S, S, D, S, D]  # processes 0 and 1 never have the same task
SOME = [D, (), B, S, S, D, (), D]  # a task on one process alone, images without any, a task that is nowhere for a while
MGDA = ["MTL.GRADIENT.AGGREGATOR", "mgda"]
SPLIT, LOOKAHEAD = ["MTL.STEP.NAME", "split"], ["MTL.STEP.NAME", "lookahead"]
COSREG = ["MTL.REGULARIZER.NAME", "cosreg", "MTL.REGULARIZER.COSREG.DOUBLE_BACKWARD", "finite"]
CASES = {
    "one backward, pyramid": (("pyramid",), [], APART),
    "gradnorm and split, pyramid": (("pyramid",), ["MTL.SCALARIZATION.NAME", "gradnorm", *SPLIT], APART),
    "mgda, trunk": (("trunk",), MGDA, APART, 4, "naiveSyncBN_N"),
    "mgda, heads alone": (EVERYWHERE[2:], MGDA, SOME),
    "features, everywhere": (EVERYWHERE, [*MGDA, "MTL.GRADIENT.LEVEL", "features"], APART),
    "split, everywhere": (EVERYWHERE, SPLIT, SOME),
    "cosreg and lookahead, everywhere": (EVERYWHERE, [*COSREG, *LOOKAHEAD], SOME),
    "rows in parts": (EVERYWHERE, ["MTL.GRADIENT.AGGREGATOR", "config", "MTL.COMMUNICATION", "reduce_scatter"], APART),
}
THREE = {
    "one backward": (EVERYWHERE, [], [D, D, S, S, (), (), (), S, S, S, D, S], 6),
    "lookahead": (EVERYWHERE, [*MGDA, *LOOKAHEAD], [D, S, D, S, S, (), S, D, B, (), (), D], 6, "naiveSyncBN_N"),
}


@pytest.mark.parametrize(("processes", "cases"), [(2, CASES), (3, THREE)])
def test_processes_without_a_task_make_the_update_of_one_process(processes, cases):
    jobs = {name: (train_synchronized, arguments) for name, arguments in cases.items()}
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (processes, folder, jobs), nprocs=processes)
        ranks = [torch.load(os.path.join(folder, f"{rank}.pt"), weights_only=False) for rank in range(processes)]
    for name, arguments in cases.items():
        whole = train_synchronized(*arguments)
        for rank in ranks:
            assert_same(rank[name], whole, rtol=1e-9)


def rcnn_with_norms():
    cfg = small_rcnn_cfg("detection", "instance", "semantic")
    cfg.MODEL.ROI_BOX_HEAD.NUM_CONV, cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = 1, 16
    cfg.MODEL.ROI_BOX_HEAD.NORM = cfg.MODEL.ROI_MASK_HEAD.NORM = cfg.MODEL.SEM_SEG_HEAD.NORM = "naiveSyncBN_N"
    return cfg


@pytest.mark.parametrize("cfg", [small_cfg, rcnn_with_norms])
def test_heads_run_on_no_sample_with_gradients_of_zero_for_all_that_their_loss_depends_on(cfg):
    model = small_model(cfg=cfg())
    features = model.shared_features(model.batch_images([sample(size=(64, 64))]))
    leaves = {name: torch.full_like(f, torch.nan).requires_grad_() for name, f in features.items()}
    for task in model.tasks:
        nothing = nothing_of(model.head_outputs(task.name, {name: f[:0] for name, f in leaves.items()}))
        assert nothing.item() == 0  # whatever the features are
        parameters = head_parameters(model, task)
        looked_at = [leaves[name] for name in model.task_levels()[task.name]]
        for gradient in torch.autograd.grad(nothing, [*looked_at, *parameters]):
            assert not gradient.any()
        others = [f for name, f in leaves.items() if name not in model.task_levels()[task.name]]
        nothing = nothing_of(model.head_outputs(task.name, {name: f[:0] for name, f in leaves.items()}))
        assert not any(g is not None for g in others and torch.autograd.grad(nothing, others, allow_unused=True))


def test_models_say_which_parts_wait_for_other_processes():
    model = small_model(cfg=rcnn_with_norms())
    assert [model.synchronizes(task) for task in (None, "detection", "instance", "semantic")] == [False, *[True] * 3]
    assert not model.eval().synchronizes("detection")
    assert not small_model().synchronizes()
    cfg = small_cfg()
    cfg.MODEL.FPN.NORM = "SyncBN"
    assert small_model(cfg=cfg).synchronizes()
