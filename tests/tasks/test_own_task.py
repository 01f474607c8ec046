"""``docs/adding_a_task.md``: a kind of task in a file of one's own, through a whole run."""

import json
from pathlib import Path

import numpy as np
import pytest
import train_net
import yaml
from detectron2.config import get_cfg
from own_sets import H, W
from PIL import Image

from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.evaluation.delta import direction

pytestmark = pytest.mark.usefixtures("forgotten")
EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/saliency_task.py"


def labelled(sets, count=4):
    records = sets.records(count)
    for i, record in enumerate(records):
        record["saliency_file_name"] = str(sets.root / f"{i}_saliency.png")
        saliency = np.zeros((H, W), np.uint8)
        saliency[10:30, 8 * i : 8 * i + 20] = 255
        Image.fromarray(saliency).save(record["saliency_file_name"])
    return records


@pytest.fixture
def config_file(sets):
    """A run on two tasks, of which detectron2 and mtl_d2 know one."""
    sets.register("own_task", labelled(sets))
    cfg = sets.config("own_task", tasks=("detection", "saliency"))
    cfg.MTL.DATA.MODULES = (str(EXAMPLE),)
    cfg.MODEL.PIXEL_STD = [57.375, 57.12, 58.395]
    cfg.DATASETS.TRAIN = ("own_task",)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (H,), H
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = 2, 3, 0.01
    cfg.MODEL.WEIGHTS, cfg.DATALOADER.NUM_WORKERS, cfg.MTL.GRADIENT.RESCALE = "", 0, "mclgs"
    file = sets.root / "config.yaml"
    file.write_text(cfg.dump())
    return file


def test_it_trains_with_the_others_is_evaluated_and_drawn(config_file, sets):
    overrides = ["MODEL.SALIENCY_HEAD.CONVS_DIM", "8"]
    results = train_net.main(train_net.parse(["--config-file", str(config_file), *overrides]))
    output = sets.root / "output"
    logged = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert any("loss_saliency" in row for row in logged)
    assert 0 < results["saliency"]["mae"] < 1
    assert "bbox" in results
    assert "saliency" in (output / "report.html").read_text()
    index = json.loads((output / "pictures/index.json").read_text())
    assert index["failed"] == []
    assert index["pictures"][0]["labels"] == ["detection", "saliency"]
    with Image.open(output / "pictures" / index["pictures"][0]["truth"]) as picture:
        truth = np.asarray(picture)
    assert truth.shape[0] > 2 * 2 * H  # the image, and below it a panel, both doubled
    assert direction("saliency/mae") is False


def test_its_labels_are_checked_and_its_evaluation_is_rehearsed_before_the_training(config_file, sets):
    Image.fromarray(np.zeros((H, W + 1), np.uint8)).save(sets.root / "0_saliency.png")
    with pytest.raises(train_net.DataError, match=r"0_saliency\.png: must be an 8-bit grey image of size"):
        train_net.prepare(train_net.parse(["--config-file", str(config_file)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MODEL": {"SALIENCY_HEAD": {"CONVS_DIM": 0}}}, "MODEL.SALIENCY_HEAD.CONVS_DIM must be a whole number >= 1"),
        ({"MTL": {"TASKS": ["saliency/faces"]}}, "MTL.TASKS has 'saliency/faces', but a model has one task 'saliency'"),
        ({"MTL": {"TASKS": ["saliency", "saliency"]}}, "MTL.TASKS names 'saliency' twice"),
        ({"MTL": {"TASKS": ["salience"]}}, "MTL.TASKS.*saliency"),
    ],
)
def test_what_it_cannot_have_is_one_line_before_the_data_are_read(config_file, change, message):
    given = yaml.safe_load(config_file.read_text())
    for node, values in change.items():
        given[node].update(values)
    config_file.write_text(yaml.safe_dump(given))
    with pytest.raises(ConfigError, match=message):
        train_net.prepare(train_net.parse(["--config-file", str(config_file)]))


def test_its_options_are_keys_of_the_config_once_its_file_is_named():
    cfg = get_cfg()
    add_mtl_config(cfg)
    merge_config(cfg, "", ["MTL.DATA.MODULES", f"('{EXAMPLE}',)", "MODEL.SALIENCY_HEAD.NORM", "BN"])
    assert cfg.MODEL.SALIENCY_HEAD.NORM == "BN"
    assert cfg.MODEL.SALIENCY_HEAD.CONVS_DIM == 64
