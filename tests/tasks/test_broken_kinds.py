"""What a kind of task of one's own may get wrong, and would otherwise train nothing without a word."""

import pytest
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from own_sets import H

from mtl_d2.data import build_train_loader
from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.registry import task_kind
from mtl_d2.tasks.semantic import Semantic


@pytest.fixture
def cfg(sets):
    sets.register("broken", sets.records(2, maps=True))
    cfg = sets.config("broken", tasks=("detection", "semantic"))
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH, cfg.INPUT.MIN_SIZE_TRAIN = 0, 2, (H,)
    return cfg


@pytest.mark.parametrize("module", ["backbone", "head", "", "train"])
def test_layers_take_the_place_of_nothing_else(cfg, monkeypatch, module):
    monkeypatch.setattr(Semantic, "module", module)
    with pytest.raises(ValueError, match=f"'semantic' cannot be the attribute '{module}' of MultiTaskFCOS"):
        build_model(cfg)


def test_label_under_another_key_is_told(cfg, monkeypatch):
    monkeypatch.setattr(Semantic, "reader", lambda self, cfg: lambda record, geometry: {"semseg": 0})
    with pytest.raises(
        ValueError, match=r"reader of task 'semantic' gave \['semseg'\], but its samples have 'sem_seg'"
    ):
        next(iter(build_train_loader(cfg)))


def test_term_that_the_task_does_not_name_is_told(cfg):
    model = build_model(cfg)
    batch = next(iter(build_train_loader(cfg)))
    head = model.task_heads["semantic"]
    losses = head.losses
    head.losses = lambda *given: {f"{key}s": term for key, term in losses(*given).items()}
    with EventStorage(), pytest.raises(ValueError, match=r"'semantic' has terms .*_ces.*, but its loss_keys are"):
        model(batch)


def test_name_of_a_kind_is_one_word():
    with pytest.raises(ValueError, match=r"Lanes\.name must be of letters, digits and '_', got 'lanes/left'"):
        task_kind(type("Lanes", (TaskKind,), {"name": "lanes/left"}))
