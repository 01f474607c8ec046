"""The tool, on a small classifier's run of two tasks that see the same images."""

import csv
import importlib.util
import json
import shutil
import signal
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import add_mtl_config
from mtl_d2.engine import MultiTaskTrainer

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analyze.py"
SPEC = importlib.util.spec_from_file_location("analyze", TOOL)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

pytestmark = pytest.mark.filterwarnings("ignore")
TASKS = ("class_row", "class_column")


def bars(name, count):
    """Two bars on 12 x 12 pixels: their row is one task, their column the other."""
    generator = torch.Generator().manual_seed(len(name))
    for i in range(count):
        row, column = torch.randint(0, 3, (2,), generator=generator).tolist()
        image = torch.zeros(1, 12, 12, dtype=torch.uint8)
        image[0, 4 * row + 1], image[0, :, 4 * column + 1] = 255, 255
        labels = dict(zip(TASKS, (row, column), strict=True))
        yield {"file_name": f"{name}/{i}", "image": image, "height": 12, "width": 12, **labels}


def register():
    for name, count in (("analysis_train", 48), ("analysis_test", 16)):
        if name not in DatasetCatalog:
            DatasetCatalog.register(name, lambda name=name, count=count: list(bars(name, count)))
            classes = {task: ["a", "b", "c"] for task in TASKS}
            MetadataCatalog.get(name).set(classes=classes, evaluator_type="classification")


def config(folder, tasks=TASKS):
    register()
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "MultiTaskClassifier", "cpu", ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0], [255.0]
    cfg.MODEL.CLASSIFIER.INPUT_SHAPE, cfg.MODEL.CLASSIFIER.NUM_CLASSES = (1, 12, 12), (3,)
    cfg.MODEL.CLASSIFIER.TRUNK, cfg.MODEL.CLASSIFIER.HEAD = ("conv 6 5 2", "linear 12"), ("linear 8",)
    cfg.MTL.TASKS, cfg.MTL.LOG_PERIOD = tasks, 1
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("analysis_train",), ("analysis_test",)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, 4, (3,)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD = 0.05, 0, 2
    cfg.TEST.EVAL_PERIOD = 0
    cfg.SEED, cfg.OUTPUT_DIR = 7, str(folder)
    return cfg


def train(cfg):
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(cfg.dump())
    trainer = MultiTaskTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.train()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(config(folder))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def analyze(run, *words):
    return tool.main(tool.parse(["--run", str(run), *map(str, words)]))


def content(run):
    files = (path for path in run.rglob("*") if path.is_file())
    return {path.relative_to(run): sha256(path.read_bytes()).hexdigest() for path in files}


def test_all_checkpoints_are_analyzed_on_both_splits_and_the_run_is_left_as_it_is(run, capsys):
    before = content(run)
    assert analyze(run, "--batches", 6) == 0
    after = content(run)
    assert {path: after[path] for path in before} == before
    assert {str(path) for path in after.keys() - before.keys()} == {
        f"analysis/analysis.{end}" for end in ("md", "png", "csv", "json")
    }
    found = json.loads((run / "analysis" / "analysis.json").read_text())
    moments = [(m["updates"], m["split"], m["batches"]) for m in found["moments"]]
    counts = {"train": dict.fromkeys(TASKS, 6), "validation": dict.fromkeys(TASKS, 4)}  # of 16 images there are 4
    assert moments == [(n, split, counts[split]) for n in (2, 4) for split in ("train", "validation")]
    assert [part["name"] for part in found["moments"][0]["parts"] if part["level"] == "layer"] == [
        "backbone.0", "backbone.3",
    ]  # fmt: skip
    assert Image.open(run / "analysis" / "analysis.png").width == 800
    said = capsys.readouterr().out
    assert all(f"- {sentence}" in said for sentence in found["advice"])
    page = (run / "analysis" / "analysis.md").read_text()
    assert all(f"- {sentence}" in page for sentence in found["advice"])
    rows = list(csv.DictReader((run / "analysis" / "analysis.csv").open()))
    cosines = [row for row in rows if row["quantity"] == "cosine"]
    assert len(cosines) == 4 * 5  # moments; all, two stages and two layers
    assert all(float(row["low"]) <= float(row["mean"]) <= float(row["high"]) for row in rows)


def test_the_same_command_gives_the_same_numbers(run, tmp_path):
    for name in ("one", "other"):
        analyze(run, "--checkpoints", "final", "--split", "train", "--batches", 3, "--output", tmp_path / name)
    one, other = ((tmp_path / name / "analysis.csv").read_text() for name in ("one", "other"))
    assert one == other


def test_held_out_images_are_the_validation_images_where_there_are_some(run):
    cfg = config(run)
    cfg.MTL.DATA.VALIDATION_SHARE = 0.25
    (run / "config.yaml").write_text(cfg.dump())
    assert analyze(run, "--checkpoints", "final", "--split", "validation") == 0
    found = json.loads((run / "analysis" / "analysis.json").read_text())
    assert found["datasets"] == {"validation": ["analysis_train@validation"]}
    assert found["moments"][0]["batches"] == dict.fromkeys(TASKS, 3)


def test_what_is_known_survives_a_broken_checkpoint(run, capsys):
    path = run / "model_0000001.pth"
    path.write_bytes(path.read_bytes()[:100])
    assert analyze(run, "--split", "train", "--batches", 2) == 1
    assert "model_0000001.pth" in capsys.readouterr().err
    assert [m["updates"] for m in json.loads((run / "analysis" / "analysis.json").read_text())["moments"]] == [4]


def test_ctrl_c_leaves_what_is_known(run, monkeypatch):
    def interrupted(known, folder):
        written(known, folder)
        signal.raise_signal(signal.SIGINT)

    written = tool.write
    monkeypatch.setattr(tool, "write", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        assert analyze(run, "--batches", 2) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(json.loads((run / "analysis" / "analysis.json").read_text())["moments"]) == 1


def without_checkpoints(run):
    for path in run.glob("*.pth"):
        path.unlink()


def other_network(run):
    cfg = config(run)
    cfg.MODEL.CLASSIFIER.TRUNK = ("conv 5 5 2", "linear 12")
    (run / "config.yaml").write_text(cfg.dump())


def one_task(run):
    (run / "config.yaml").write_text(config(run, TASKS[:1]).dump())


def no_test_set(run):
    cfg = config(run)
    cfg.DATASETS.TEST = ()
    (run / "config.yaml").write_text(cfg.dump())


def a_file_in_the_way(run):
    (run / "analysis").write_text("")


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        pytest.param(shutil.rmtree, (), "--run .* is not there", id="no_run"),
        pytest.param(without_checkpoints, (), "has no weights", id="no_checkpoint"),
        pytest.param(other_network, (), "model_0000001.pth: .*backbone.0", id="another_network"),
        pytest.param(one_task, (), "was trained on one task, class_row", id="one_task"),
        pytest.param(no_test_set, ("--split", "validation"), "has no validation images", id="no_validation"),
        pytest.param(a_file_in_the_way, (), "--output .* cannot be made a folder", id="file_in_the_way"),
        pytest.param(lambda run: None, ("--batches", "0"), "--batches must be at least 1", id="no_batches"),
        pytest.param(lambda run: None, ("--checkpoints", "best"), "--checkpoints best: .* is not there", id="no_best"),
    ],
)
def test_a_mistake_is_said_in_one_line(run, spoil, words, said):
    spoil(run)
    with pytest.raises(tool.EXPECTED, match=said) as error:
        analyze(run, *words)
    assert "\n" not in str(error.value)
