"""``docs/adding_a_model.md``: a meta-architecture in a file of one's own, through a whole run."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/evaluation"), str(ROOT / "tools")]

import train_net  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402
from own_sets import sets  # noqa: E402, F401  # a fixture

from mtl_d2.config import add_mtl_config, merge_config  # noqa: E402
from mtl_d2.tasks.sources import label_sources  # noqa: E402

pytestmark = pytest.mark.usefixtures("forgotten")
EXAMPLE = ROOT / "docs/examples/new_meta_arch.py"


@pytest.fixture
def arguments(sets):  # noqa: F811
    sets.register("pixels", sets.records(4, boxes=False, maps=True))
    cfg = sets.config("pixels", tasks=("semantic",))
    cfg.MODEL.META_ARCHITECTURE = "PixelNet"
    cfg.MTL.DATA.MODULES = (str(EXAMPLE),)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.MODEL.WEIGHTS = 2, 2, ""
    cfg.MODEL.PIXEL_STD, cfg.DATALOADER.NUM_WORKERS = [57.375, 57.12, 58.395], 0
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    file = sets.root / "config.yaml"
    file.write_text(cfg.dump())
    return ["--config-file", str(file)]


def test_it_trains_with_every_method_and_is_evaluated(arguments, sets):  # noqa: F811
    options = ["MODEL.PIXEL_NET.DROPOUT", "0.5", "MTL.GRADIENT.AGGREGATOR", "pcgrad"]
    results = train_net.main(train_net.parse([*arguments, *options]))
    assert 0 <= results["sem_seg"]["mIoU"] <= 100
    assert json.loads((sets.root / "output/pictures/index.json").read_text())["failed"] == []


def test_it_learns_of_pseudo_labels_where_the_config_has_some(arguments):
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, arguments[1], ["MTL.PSEUDO_LABELS.FOLDERS", "('labels',)"])
    assert build_model(cfg).tasks[0].sources == label_sources(cfg)
    assert len(label_sources(cfg)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MTL.TASKS", "('semantic', 'detection')"], "PixelNet has no task 'detection'; it has .*semantic"),
        (["MODEL.PIXEL_NET.DROPOUT", "1"], "MODEL.PIXEL_NET.DROPOUT must be a finite number >= 0 and < 1, got 1"),
    ],
)
def test_what_it_cannot_do_is_said_before_the_data_are_read(arguments, options, message):
    with pytest.raises(train_net.ConfigError, match=message):
        train_net.prepare(train_net.parse([*arguments, *options]))
