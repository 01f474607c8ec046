import pytest
import torch
from detectron2.config import get_cfg

from mtl_d2.config import add_mtl_config
from mtl_d2.schedules import build_lr_scheduler


def rates(**solver):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.merge_from_list([item for key, value in solver.items() for item in (f"SOLVER.{key}", value)])
    optimizer = torch.optim.SGD([torch.zeros((), requires_grad=True)], lr=cfg.SOLVER.BASE_LR)
    schedule = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_polynomial_schedule_by_hand():
    given = {"LR_SCHEDULER_NAME": "WarmupPolyLR", "BASE_LR": 0.1, "MAX_ITER": 4, "WARMUP_ITERS": 0}
    assert rates(**given, POLY_LR_POWER=2.0) == pytest.approx([0.1, 0.1 * 9 / 16, 0.1 / 4, 0.1 / 16])
    assert rates(**given)[1] == pytest.approx(0.1 * 0.75**0.9)


def test_it_warms_up_to_its_own_value():
    warm = rates(
        LR_SCHEDULER_NAME="WarmupPolyLR", POLY_LR_POWER=1.0, BASE_LR=0.1, MAX_ITER=8, WARMUP_ITERS=2, WARMUP_FACTOR=0.5
    )
    assert warm[0] == pytest.approx(0.05)
    assert warm[2:] == pytest.approx([0.1 * (1 - t / 8) for t in range(2, 8)])


def test_other_schedules_are_detectron2s():
    assert rates(BASE_LR=0.1, MAX_ITER=4, STEPS=(2,), WARMUP_ITERS=0) == pytest.approx([0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ValueError, match="Unknown LR scheduler: Poly"):
        rates(LR_SCHEDULER_NAME="Poly", MAX_ITER=1)
