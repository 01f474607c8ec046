"""Small classifiers through the trainer: the same updates, checkpoints, results and report as detectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from running import train

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.evaluation.rehearsal import rehearse
from mtl_d2.results_file import own_row

pytestmark = pytest.mark.filterwarnings("ignore")
TASKS = ("class_left", "class_right")


def records(name, count, seed):
    """Bright bars: the left task is which row, the right task which column."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(count):
        row, column = torch.randint(0, 3, (2,), generator=generator).tolist()
        image = torch.zeros(1, 12, 12, dtype=torch.uint8)
        image[0, 4 * row + 1], image[0, :, 4 * column + 1] = 255, 255
        found.append({"file_name": f"{name}/{i}", "image": image, "height": 12, "width": 12})
        found[-1] |= dict(zip(TASKS, (row, column), strict=True))
    return found


@pytest.fixture
def cfg(tmp_path):
    for seed, (split, count) in enumerate({"train": 48, "val": 20, "test": 20}.items()):
        name = f"bars_{split}"
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        DatasetCatalog.register(name, lambda name=name, count=count, seed=seed: records(name, count, seed))
        classes = {task: ["a", "b", "c"] for task in TASKS}
        MetadataCatalog.get(name).set(classes=classes, evaluator_type="classification")
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskClassifier"
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0], [255.0]
    cfg.MODEL.CLASSIFIER.INPUT_SHAPE, cfg.MODEL.CLASSIFIER.NUM_CLASSES = (1, 12, 12), (3,)
    cfg.MODEL.CLASSIFIER.TRUNK, cfg.MODEL.CLASSIFIER.HEAD = ("conv 6 5 2", "linear 12"), ("linear 8",)
    cfg.MTL.TASKS, cfg.MTL.LOG_PERIOD = TASKS, 1
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("bars_train",), ("bars_test", "bars_val")
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 8, 12, (9,)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD = 0.05, 0, 6
    cfg.SEED, cfg.OUTPUT_DIR = 7, str(tmp_path / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    return cfg


def use(cfg, choice):
    cfg.DATASETS.TEST = ()
    if choice == "mclgs":
        cfg.MTL.GRADIENT.RESCALE, cfg.MTL.GRADIENT.AGGREGATOR = "mclgs", "mean"
    if choice == "lookahead":
        cfg.MTL.STEP.NAME = "lookahead"
    if choice == "cosreg":
        cfg.MTL.REGULARIZER.NAME, cfg.MODEL.CLASSIFIER.NORM = "cosreg", "BN"
    if choice == "gradnorm":
        cfg.MTL.SCALARIZATION.NAME = "gradnorm"
    if choice == "gap":
        cfg.MTL.ALLOCATION.NAME = "gap"
    if choice == "adam":
        cfg.MTL.OPTIMIZER = "adam"


def test_equal_weights_are_simple_trainer_bit_for_bit(cfg):
    use(cfg, "equal")
    ours = train(cfg).model.state_dict()
    torch.manual_seed(3)
    model = build_model(cfg)
    optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
    schedule = MultiTaskTrainer.build_lr_scheduler(cfg, optimizer)
    trainer = SimpleTrainer(model, build_train_loader(cfg), optimizer)
    with EventStorage():
        for _ in range(cfg.SOLVER.MAX_ITER):
            trainer.run_step()
            schedule.step()
    for name, value in model.state_dict().items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("choice", ["equal", "mclgs", "lookahead", "cosreg", "gradnorm", "gap", "adam"])
def test_resumed_run_equals_one_that_never_stopped(cfg, choice):
    use(cfg, choice)
    whole = train(cfg).model.state_dict()
    cfg.OUTPUT_DIR += "_resumed"
    Path(cfg.OUTPUT_DIR).mkdir()
    train(cfg, until=6)
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000005.pth")
    resumed = train(cfg, resume=True).model.state_dict()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_adam_moves_every_parameter_by_the_rate_at_first(cfg):
    use(cfg, "adam")
    cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MAX_ITER = 0.0, 1
    torch.manual_seed(3)
    before = build_model(cfg).heads["class_left"][-1].bias
    torch.manual_seed(3)
    after = train(cfg).model.heads["class_left"][-1].bias
    torch.testing.assert_close((after - before).abs(), torch.full((3,), 0.05), rtol=1e-3, atol=0)


def own_results(output):
    content = json.loads(Path(output, "results.json").read_text())
    return content[own_row(content)]


def test_run_leaves_accuracies_pictures_and_a_report(cfg):
    model = train(cfg).model
    output = Path(cfg.OUTPUT_DIR)
    row = own_results(output)
    content = json.loads(Path(output, "results.json").read_text())
    assert content["parameters"] == sum(p.numel() for p in model.parameters())
    left, right = (row["accuracy"][task] for task in TASKS)
    assert row["accuracy"]["harmonic_mean"] == pytest.approx(2 * left * right / (left + right))
    assert set(row) == {"accuracy", "accuracy@bars_val"}
    assert len(list((output / "pictures").glob("bars_*.jpg"))) == 24
    assert "data:image/jpeg" in (output / "report.html").read_text()


def test_results_are_those_where_validation_was_best(cfg, monkeypatch):
    values = iter([(50.0, 1.0), (70.0, 2.0), (60.0, 3.0)])

    def test(cls, cfg, model, evaluators=None):
        val, test = next(values)
        return {"accuracy": {"harmonic_mean": test}, "accuracy@bars_val": {"harmonic_mean": val}}

    monkeypatch.setattr(MultiTaskTrainer, "test", classmethod(test))
    monkeypatch.setattr("mtl_d2.report.pictures.write_pictures", lambda *arguments: None)
    cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON, cfg.TEST.EVAL_PERIOD = "accuracy@bars_val/harmonic_mean", "test", 4
    trainer = train(cfg)
    row = own_results(cfg.OUTPUT_DIR)
    assert row["accuracy"]["harmonic_mean"] == 2.0
    best = torch.load(Path(cfg.OUTPUT_DIR, "model_best.pth"), weights_only=False)["model"]
    assert any(not torch.equal(best[k], v) for k, v in trainer.model.state_dict().items())
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"


def test_selection_by_a_metric_that_is_not_there_names_those_that_are(cfg):
    cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON = "accuracy@bars/harmonic_mean", "test"
    with pytest.raises(ValueError, match="there are: accuracy/class_left, "):
        train(cfg)


def test_batches_are_a_function_of_seed_and_position(cfg):
    whole, later = iter(build_train_loader(cfg)), iter(build_train_loader(cfg, start=16))
    batches = [next(whole) for _ in range(4)]
    for own, other in zip(batches[2:], later, strict=False):
        assert [s["file_name"] for s in own] == [s["file_name"] for s in other]
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(own, other, strict=True))
    assert [s["position"] for batch in batches for s in batch] == list(range(32))
    assert batches[0][0]["tasks"] == TASKS


def test_ranks_divide_the_batch(cfg):
    whole = next(iter(build_train_loader(cfg)))
    parts = [next(iter(build_train_loader(cfg, rank=rank, world_size=2))) for rank in (0, 1)]
    assert [s["file_name"] for s in whole[::2]] == [s["file_name"] for s in parts[0]]
    assert [s["file_name"] for s in whole[1::2]] == [s["file_name"] for s in parts[1]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NUM_CLASSES", (4,), "class_left has 3 classes, but MODEL.CLASSIFIER.NUM_CLASSES says 4: set it to 3"),
        ("INPUT_SHAPE", (1, 16, 16), r"INPUT_SHAPE \(1, 16, 16\), found \(1, 12, 12\)"),
    ],
)
def test_data_that_do_not_fit_the_network_are_refused(cfg, key, value, message):
    check_data(cfg)
    cfg.MODEL.CLASSIFIER[key] = value
    with pytest.raises(DataError, match=message):
        check_data(cfg)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            {"class_left": torch.tensor(1)},
            r"`class_left` must be a whole number in 0\.\.2, found Tensor torch\.int64 in 1 of",
        ),
        ({"class_left": np.array([1])}, "found ndarray int64"),
        ({"class_left": "1"}, "found str '1'"),
        (
            {"image": np.zeros((1, 12, 12), np.uint8)},
            r"`image` must be a uint8 tensor \(C, H, W\), found ndarray uint8",
        ),
        ({"image": torch.zeros(1, 12, 12)}, "found Tensor torch.float32"),
    ],
)
def test_classes_and_images_of_another_type_are_refused_with_their_record(cfg, odd, message):
    DatasetCatalog.remove("bars_val")
    DatasetCatalog.register("bars_val", lambda: [{**records("bars_val", 1, 0)[0], **odd}])
    with pytest.raises(DataError, match=f"bars_val: {message if message[0] == '`' else f'.*{message}'}"):
        check_data(cfg)


def test_images_in_memory_may_come_from_one_file(cfg):
    DatasetCatalog.remove("bars_val")
    DatasetCatalog.register("bars_val", lambda: [{**r, "file_name": "all"} for r in records("bars_val", 3, 0)])
    check_data(cfg)
    rehearse(cfg)


def test_class_ids_out_of_range_are_refused(cfg):
    DatasetCatalog.remove("bars_val")
    DatasetCatalog.register("bars_val", lambda: [{**records("bars_val", 1, 0)[0], "class_left": 3}])
    with pytest.raises(DataError, match=r"bars_val: `class_left` must be in 0..2, found \[3\]"):
        check_data(cfg)


def test_records_with_and_without_an_image_do_not_mix(cfg):
    DatasetCatalog.remove("bars_val")
    DatasetCatalog.register("bars_val", lambda: [{"file_name": "x.png", "class_left": 0}])
    cfg.DATASETS.TRAIN = ("bars_train", "bars_val")
    with pytest.raises(DataError, match="48 of 49 records hold their image"):
        build_train_loader(cfg)
